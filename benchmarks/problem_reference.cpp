// What hand-written, hand-vectorised C++ needs for the problems of problem_throughput.py, one a build: -DPROBLEM=1 to 6.
// Each step is written out for its own problem, with nothing general in it.
// Usage: problem_reference num eps dt threads seed     Prints one line of JSON.
#include "lanes.hpp"

enum { ISOTROPIC_2 = 1, ISOTROPIC_10, BROWNIAN_2, DOUBLE_WELL, DENSE_10, ADAM_2 };
#if PROBLEM == 2 || PROBLEM == 5
constexpr int D = 10;
#elif PROBLEM == 4
constexpr int D = 1;
#else
constexpr int D = 2;
#endif
constexpr int STATE = PROBLEM == ADAM_2 ? 3 * D : D;
constexpr float ALPHA = 1.5f;
using Lanes = Block<STATE>;

struct Numbers {
    float dt, scale;         // step, noise amplitude of one step
    float hessian[D][D];     // dense problem
    float gain[2];           // ADAM's averages
};

static inline float stable(Lanes& b, int i) { return stable(b, i, ALPHA, 1 / ALPHA, 1 - ALPHA); }

// sqrt(2 V), V positive alpha/2-stable (Kanter)
static inline float radius(Lanes& b, int i) {
    const uint32_t word = next(b, i);
    constexpr float index = ALPHA / 2, rest = 1 - index;
    const float turn = ((float)(int32_t)(word >> 1) + 0.5f) * (PI / 2147483648.0f);
    const float pole = ((float)(int32_t)(0x7FFFFFFFu - (word >> 1)) + 0.5f) * (PI / 2147483648.0f);
    const float ratio = sinf(rest * turn) / exponential(next(b, i));
    const float log_v = logf(sinf(index * turn)) + (rest * logf(ratio) - logf(sinf(turn < pole ? turn : pole))) / index;
    return expf(0.5f * log_v) * 1.41421356f;
}

static inline void normals(Lanes& b, int i, float& first, float& second) {  // Box and Muller
    const float size = sqrtf(2 * exponential(next(b, i)));
    const float turn = ((float)(int32_t)(next(b, i) >> 1) + 0.5f) * (2 * PI / 2147483648.0f);
    first = size * sinf(turn + 0.5f * PI), second = size * sinf(turn);  // a cosine beside it would become a scalar sincos
}

// One step of every lane: the new states go to `out`, what must stay below 1 inside to `edge`.
static inline void step(Lanes& b, const Numbers& n, float (&out)[STATE][LANES], float (&edge)[LANES]) {
    const float keep = 1 - n.dt;
#if PROBLEM == 1 || PROBLEM == 2  // isotropic noise, quadratic well, unit ball
    alignas(64) float size[LANES];
    FOR_LANES size[i] = n.scale * radius(b, i), edge[i] = 0;
    for (int k = 0; k < D; k += 2) FOR_LANES {
        float first, second;
        normals(b, i, first, second);
        first = keep * b.x[k][i] + size[i] * first, second = keep * b.x[k + 1][i] + size[i] * second;
        out[k][i] = first, out[k + 1][i] = second;
        edge[i] += first * first + second * second;
    }
#elif PROBLEM == 3  // Brownian noise, quadratic well, unit disc
    FOR_LANES {
        float first, second;
        normals(b, i, first, second);
        first = keep * b.x[0][i] + n.scale * first, second = keep * b.x[1][i] + n.scale * second;
        out[0][i] = first, out[1][i] = second;
        edge[i] = first * first + second * second;
    }
#elif PROBLEM == 4  // double well (x^2 - 1)^2 from its left minimum, until x >= 0 or x <= -4
    FOR_LANES {
        const float x = b.x[0][i], y = x - n.dt * 4 * x * (x * x - 1) + n.scale * stable(b, i);
        out[0][i] = y;
        edge[i] = 1 + (y > 0 ? y : (y > -4 ? -1.0f : 1.0f));
    }
#elif PROBLEM == 5  // component noise, dense Hessian, unit ball
    FOR_LANES edge[i] = 0;
    for (int k = 0; k < D; k++) FOR_LANES {
        float slope = 0;
#pragma GCC unroll 10
        for (int j = 0; j < D; j++) slope += n.hessian[k][j] * b.x[j][i];
        const float y = b.x[k][i] - n.dt * slope + n.scale * stable(b, i);
        out[k][i] = y;
        edge[i] += y * y;
    }
#else  // ADAM: positions, averages of gradient and squared gradient; gradient variance 1, delta 0.1
    FOR_LANES edge[i] = 0;
    for (int k = 0; k < D; k++) FOR_LANES {
        const float x = b.x[k][i];
        const float m = b.x[D + k][i] + n.gain[0] * (x - b.x[D + k][i]);
        const float v = b.x[2 * D + k][i] + n.gain[1] * (x * x + 1 - b.x[2 * D + k][i]);
        const float y = x + (n.scale * stable(b, i) - n.dt * m) / (sqrtf(v) + 0.1f);
        out[k][i] = y, out[D + k][i] = m, out[2 * D + k][i] = v;
        edge[i] += y * y;
    }
#endif
}

int main(int argc, char** argv) {
    if (argc != 6) return std::fprintf(stderr, "usage: problem_reference num eps dt threads seed\n"), 2;
    const double eps = std::atof(argv[2]), dt = std::atof(argv[3]);
    Numbers n;
    n.dt = (float)dt;
    n.scale = (float)(eps * std::pow(dt, PROBLEM == BROWNIAN_2 ? 0.5 : 1 / ALPHA));
    n.gain[0] = (float)(1 - std::exp(-10 * dt)), n.gain[1] = (float)(1 - std::exp(-0.1 * dt));
    for (int k = 0; k < D; k++)
        for (int j = 0; j < D; j++) n.hessian[k][j] = (k == j) + 0.5f / D;
    auto place = [](Lanes& b, int i) {
        for (int k = 0; k < STATE; k++) b.x[k][i] = k >= 2 * D ? 1.0f : 0.0f;
        if (PROBLEM == DOUBLE_WELL) b.x[0][i] = -1;
    };
    auto advance = [&](Lanes& b) {
        alignas(64) float out[STATE][LANES], edge[LANES];
        step(b, n, out, edge);
        FOR_LANES {
            const uint32_t alive = b.alive[i], inside = (uint32_t)(edge[i] < 1) & alive;
            b.steps[i] += alive;
            b.alive[i] = inside;
        }
        for (int k = 0; k < STATE; k++) FOR_LANES b.x[k][i] = b.alive[i] ? out[k][i] : b.x[k][i];
    };
    report<STATE>(std::atoi(argv[1]), dt, std::atoi(argv[4]), std::strtoull(argv[5], nullptr, 10), place, advance);
}
