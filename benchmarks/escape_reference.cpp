// What hand-written, hand-vectorised C++ needs for the job of escape_throughput.py: exits of dX = -X dt + eps dL from the
// unit disc, L two independent SaS(1) coordinates, Euler steps, Chambers-Mallows-Stuck draws from the distance to the pole.
// Lanes are vectorised by the compiler, finished lanes refilled from one shared counter, one thread a core.
// Usage: escape_reference num alpha eps dt threads seed     Prints one line of JSON.
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#ifndef LANES
#define LANES 32
#endif
#ifndef CHUNK
#define CHUNK 256
#endif

struct alignas(64) Block {  // xoshiro128+ states and positions, one column a lane
    uint32_t s0[LANES], s1[LANES], s2[LANES], s3[LANES];
    float x[LANES], y[LANES];
    uint32_t alive[LANES], steps[LANES];
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

// The signed conversions are exact enough and, unlike unsigned ones, one instruction everywhere.
static inline float stable(Block& b, int i, float alpha, float inverse, float rest) {
    const uint32_t angle = next(b, i), tail = next(b, i);
    const float pole = ((float)(int32_t)(angle >> 1) + 0.5f) * (3.14159265f / 4294967296.0f);
    const float centre = 1.57079633f - pole;
    const float uniform = ((float)(int32_t)(tail >> 1) + 0.5f) * (1.0f / 2147483648.0f);
    const float exponential = -logf(uniform < 0.99999994f ? uniform : 0.99999994f);  // never 0: -ffast-math knows no inf
    const float power = rest * (logf(cosf(rest * centre)) - logf(exponential)) - logf(sinf(pole));
    const float size = sinf(alpha * centre) * expf(power * inverse);
    return (angle & 1) ? size : -size;
}

struct Tally {
    double sum = 0, squares = 0;
    long long lane_steps = 0;
};

static Tally work(int worker, int num, float alpha, float eps, float dt, uint64_t seed, std::atomic<int>& counter) {
    auto storage = std::make_unique<Block>();
    Block& b = *storage;
    Tally tally;
    const float inverse = 1 / alpha, rest = 1 - alpha, scale = std::pow(dt, inverse) * eps, keep = 1 - dt;
    uint64_t mixer = seed + 0x9E3779B97F4A7C15ull * (worker + 1);
    auto word = [&] {  // splitmix64
        uint64_t z = (mixer += 0x9E3779B97F4A7C15ull);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
        return (uint32_t)((z ^ (z >> 31)) >> 16);
    };
    std::vector<char> used(LANES, 0);
    int active = 0;
    auto start = [&](int i) {
        const bool on = counter.fetch_add(1) < num;
        b.s0[i] = word(), b.s1[i] = word(), b.s2[i] = word(), b.s3[i] = word() | 1;
        b.x[i] = b.y[i] = 0;
        b.alive[i] = used[i] = on;
        b.steps[i] = 0;
        active += on;
    };
    for (int i = 0; i < LANES; i++) start(i);
    while (active > 0) {
        for (int s = 0; s < CHUNK; s++) {
#pragma omp simd
            for (int i = 0; i < LANES; i++) {
                const float x = keep * b.x[i] + scale * stable(b, i, alpha, inverse, rest);
                const float y = keep * b.y[i] + scale * stable(b, i, alpha, inverse, rest);
                const uint32_t alive = b.alive[i], inside = (x * x + y * y < 1.0f) & alive;
                b.steps[i] += alive;
                b.x[i] = inside ? x : b.x[i];
                b.y[i] = inside ? y : b.y[i];
                b.alive[i] = inside;
            }
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
    if (argc != 7) return std::fprintf(stderr, "usage: escape_reference num alpha eps dt threads seed\n"), 2;
    const int num = std::atoi(argv[1]), threads = std::atoi(argv[5]);
    const float alpha = std::atof(argv[2]), eps = std::atof(argv[3]), dt = std::atof(argv[4]);
    const uint64_t seed = std::strtoull(argv[6], nullptr, 10);
    std::atomic<int> counter{0};
    std::vector<Tally> tallies(threads);
    std::vector<std::thread> pool;
    const auto begin = std::chrono::steady_clock::now();
    for (int k = 0; k < threads; k++)
        pool.emplace_back([&, k] { tallies[k] = work(k, num, alpha, eps, dt, seed, counter); });
    for (auto& thread : pool) thread.join();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    Tally all;
    for (const auto& t : tallies) all.sum += t.sum, all.squares += t.squares, all.lane_steps += t.lane_steps;
    const double mean = all.sum / num, variance = all.squares / num - mean * mean;
    std::printf("{\"seconds\": %.6f, \"live_steps\": %.0f, \"lane_steps\": %lld, \"mean\": %.6f, \"error\": %.6f}\n", seconds,
                all.sum, all.lane_steps, mean * dt, std::sqrt(variance / num) * dt);
}
