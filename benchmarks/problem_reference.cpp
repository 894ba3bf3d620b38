// What hand-written, hand-vectorised C++ needs for the problems of problem_throughput.py, one a build: -DPROBLEM=1 to 6.
// Lanes are vectorised by the compiler, finished lanes refilled from one shared counter, one thread a core, as in
// escape_reference.cpp; each step is written out for its own problem, with nothing general in it.
// Usage: problem_reference num eps dt threads seed     Prints one line of JSON.
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

enum { ISOTROPIC_2 = 1, ISOTROPIC_10, BROWNIAN_2, DOUBLE_WELL, DENSE_10, ADAM_2 };
#if PROBLEM == 2 || PROBLEM == 5
constexpr int D = 10;
#elif PROBLEM == 4
constexpr int D = 1;
#else
constexpr int D = 2;
#endif
constexpr int STATE = PROBLEM == ADAM_2 ? 3 * D : D, LANES = 32, CHUNK = 256;
constexpr float ALPHA = 1.5f, PI = 3.14159265f;

struct alignas(64) Block {  // xoshiro128+ states and the problem's state, one column a lane
    uint32_t s0[LANES], s1[LANES], s2[LANES], s3[LANES];
    float x[STATE][LANES];
    uint32_t alive[LANES], steps[LANES];
};

struct Numbers {
    float dt, scale;         // step, noise amplitude of one step
    float hessian[D][D];     // dense problem
    float gain[2];           // ADAM's averages
};

static inline uint32_t rotate(uint32_t v, int k) { return (v << k) | (v >> (32 - k)); }

static inline uint32_t next(Block& b, int i) {
    const uint32_t out = b.s0[i] + b.s3[i], shifted = b.s1[i] << 9;
    b.s2[i] ^= b.s0[i];
    b.s3[i] ^= b.s1[i];
    b.s1[i] ^= b.s2[i];
    b.s0[i] ^= b.s3[i];
    b.s2[i] ^= shifted;
    b.s3[i] = rotate(b.s3[i], 11);
    return out;
}

// -log of a uniform from 31 bits; never 0, since -ffast-math knows no infinity
static inline float exponential(uint32_t word) {
    const float uniform = ((float)(int32_t)(word >> 1) + 0.5f) * (1.0f / 2147483648.0f);
    return -logf(uniform < 0.99999994f ? uniform : 0.99999994f);
}

// SaS(1), Chambers, Mallows, Stuck, from the distance to the pole
static inline float stable(Block& b, int i) {
    const uint32_t angle = next(b, i), tail = next(b, i);
    const float pole = ((float)(int32_t)(angle >> 1) + 0.5f) * (PI / 4294967296.0f), centre = 0.5f * PI - pole;
    const float power = (1 - ALPHA) * (logf(cosf((1 - ALPHA) * centre)) - logf(exponential(tail))) - logf(sinf(pole));
    const float size = sinf(ALPHA * centre) * expf(power * (1 / ALPHA));
    return (angle & 1) ? size : -size;
}

// sqrt(2 V), V positive alpha/2-stable (Kanter)
static inline float radius(Block& b, int i) {
    const uint32_t word = next(b, i);
    constexpr float index = ALPHA / 2, rest = 1 - index;
    const float turn = ((float)(int32_t)(word >> 1) + 0.5f) * (PI / 2147483648.0f);
    const float pole = ((float)(int32_t)(0x7FFFFFFFu - (word >> 1)) + 0.5f) * (PI / 2147483648.0f);
    const float ratio = sinf(rest * turn) / exponential(next(b, i));
    const float log_v = logf(sinf(index * turn)) + (rest * logf(ratio) - logf(sinf(turn < pole ? turn : pole))) / index;
    return expf(0.5f * log_v) * 1.41421356f;
}

static inline void normals(Block& b, int i, float& first, float& second) {  // Box and Muller
    const float size = sqrtf(2 * exponential(next(b, i)));
    const float turn = ((float)(int32_t)(next(b, i) >> 1) + 0.5f) * (2 * PI / 2147483648.0f);
    first = size * cosf(turn), second = size * sinf(turn);
}

#define FOR_LANES _Pragma("omp simd") for (int i = 0; i < LANES; i++)

// One step of every lane: the new states go to `out`, what must stay below 1 inside to `edge`.
static inline void step(Block& b, const Numbers& n, float (&out)[STATE][LANES], float (&edge)[LANES]) {
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

struct Tally {
    double sum = 0, squares = 0;
    long long lane_steps = 0;
};

static Tally work(int worker, int num, const Numbers& n, uint64_t seed, std::atomic<int>& counter) {
    auto storage = std::make_unique<Block>();
    Block& b = *storage;
    Tally tally;
    uint64_t mixer = seed + 0x9E3779B97F4A7C15ull * (worker + 1);
    auto word = [&] {  // splitmix64
        uint64_t z = (mixer += 0x9E3779B97F4A7C15ull);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
        return (uint32_t)((z ^ (z >> 31)) >> 16);
    };
    std::vector<char> used(LANES, 0);
    int active = 0;
    alignas(64) float out[STATE][LANES], edge[LANES];
    auto start = [&](int i) {
        const bool on = counter.fetch_add(1) < num;
        b.s0[i] = word(), b.s1[i] = word(), b.s2[i] = word(), b.s3[i] = word() | 1;
        for (int k = 0; k < STATE; k++) b.x[k][i] = k >= 2 * D ? 1.0f : 0.0f;
        if (PROBLEM == DOUBLE_WELL) b.x[0][i] = -1;
        b.alive[i] = used[i] = on;
        b.steps[i] = 0;
        active += on;
    };
    for (int i = 0; i < LANES; i++) start(i);
    while (active > 0) {
        for (int s = 0; s < CHUNK; s++) {
            step(b, n, out, edge);
            FOR_LANES {
                const uint32_t alive = b.alive[i], inside = (uint32_t)(edge[i] < 1) & alive;
                b.steps[i] += alive;
                b.alive[i] = inside;
            }
            for (int k = 0; k < STATE; k++) FOR_LANES b.x[k][i] = b.alive[i] ? out[k][i] : b.x[k][i];
        }
        tally.lane_steps += (long long)CHUNK * LANES;
        for (int i = 0; i < LANES; i++) {
            if (!used[i] || b.alive[i]) continue;
            tally.sum += b.steps[i];
            tally.squares += (double)b.steps[i] * b.steps[i];
            active--;
            start(i);
        }
    }
    return tally;
}

int main(int argc, char** argv) {
    if (argc != 6) return std::fprintf(stderr, "usage: problem_reference num eps dt threads seed\n"), 2;
    const int num = std::atoi(argv[1]), threads = std::atoi(argv[4]);
    const double eps = std::atof(argv[2]), dt = std::atof(argv[3]);
    const uint64_t seed = std::strtoull(argv[5], nullptr, 10);
    Numbers n;
    n.dt = (float)dt;
    n.scale = (float)(eps * std::pow(dt, PROBLEM == BROWNIAN_2 ? 0.5 : 1 / ALPHA));
    n.gain[0] = (float)(1 - std::exp(-10 * dt)), n.gain[1] = (float)(1 - std::exp(-0.1 * dt));
    for (int k = 0; k < D; k++)
        for (int j = 0; j < D; j++) n.hessian[k][j] = (k == j) + 0.5f / D;
    std::atomic<int> counter{0};
    std::vector<Tally> tallies(threads);
    std::vector<std::thread> pool;
    const auto begin = std::chrono::steady_clock::now();
    for (int k = 0; k < threads; k++) pool.emplace_back([&, k] { tallies[k] = work(k, num, n, seed, counter); });
    for (auto& thread : pool) thread.join();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    Tally all;
    for (const auto& t : tallies) all.sum += t.sum, all.squares += t.squares, all.lane_steps += t.lane_steps;
    const double mean = all.sum / num, variance = all.squares / num - mean * mean;
    std::printf("{\"seconds\": %.6f, \"live_steps\": %.0f, \"lane_steps\": %lld, \"mean\": %.6f, \"error\": %.6f}\n", seconds,
                all.sum, all.lane_steps, mean * dt, std::sqrt(variance / num) * dt);
}
