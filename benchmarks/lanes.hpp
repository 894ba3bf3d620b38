// What the C++ references share: lanes of xoshiro128+ generators, stable draws, and threads that advance blocks of lanes,
// vectorised by the compiler, and refill finished lanes from one shared counter.
#pragma once
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
#define FOR_LANES _Pragma("omp simd") for (int i = 0; i < LANES; i++)

constexpr float PI = 3.14159265f;

template <int STATE>
struct alignas(64) Block {  // generators, state and bookkeeping, one column a lane
    uint32_t s0[LANES], s1[LANES], s2[LANES], s3[LANES];
    float x[STATE][LANES];
    uint32_t alive[LANES], steps[LANES];
};

static inline uint32_t rotate(uint32_t v, int k) { return (v << k) | (v >> (32 - k)); }

template <int STATE>
static inline uint32_t next(Block<STATE>& b, int i) {
    const uint32_t out = b.s0[i] + b.s3[i], shifted = b.s1[i] << 9;
    b.s2[i] ^= b.s0[i];
    b.s3[i] ^= b.s1[i];
    b.s1[i] ^= b.s2[i];
    b.s0[i] ^= b.s3[i];
    b.s2[i] ^= shifted;
    b.s3[i] = rotate(b.s3[i], 11);
    return out;
}

// -log of a uniform from 31 bits; never 0, since -ffast-math knows no infinity. The signed conversion is exact enough and,
// unlike an unsigned one, one instruction everywhere.
static inline float exponential(uint32_t word) {
    const float uniform = ((float)(int32_t)(word >> 1) + 0.5f) * (1.0f / 2147483648.0f);
    return -logf(uniform < 0.99999994f ? uniform : 0.99999994f);
}

// SaS(1) by Chambers, Mallows and Stuck, from the distance to the pole; inverse = 1/alpha, rest = 1 - alpha.
template <int STATE>
static inline float stable(Block<STATE>& b, int i, float alpha, float inverse, float rest) {
    const uint32_t angle = next(b, i), tail = next(b, i);
    const float pole = ((float)(int32_t)(angle >> 1) + 0.5f) * (PI / 4294967296.0f), centre = 0.5f * PI - pole;
    const float power = rest * (logf(cosf(rest * centre)) - logf(exponential(tail))) - logf(sinf(pole));
    const float size = sinf(alpha * centre) * expf(power * inverse);
    return (angle & 1) ? size : -size;
}

struct Tally {
    double sum = 0, squares = 0;
    long long lane_steps = 0;
};

// One thread's work: `place(b, i)` puts lane i at its start, `advance(b)` makes one step of every lane.
template <int STATE, class Place, class Advance>
static Tally work(int worker, int num, uint64_t seed, std::atomic<int>& counter, Place place, Advance advance) {
    auto storage = std::make_unique<Block<STATE>>();
    Block<STATE>& b = *storage;
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
    auto start = [&](int i) {
        const bool on = counter.fetch_add(1) < num;
        b.s0[i] = word(), b.s1[i] = word(), b.s2[i] = word(), b.s3[i] = word() | 1;
        place(b, i);
        b.alive[i] = used[i] = on;
        b.steps[i] = 0;
        active += on;
    };
    for (int i = 0; i < LANES; i++) start(i);
    while (active > 0) {
        for (int s = 0; s < CHUNK; s++) advance(b);
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

// All threads together; prints one line of JSON.
template <int STATE, class Place, class Advance>
static void report(int num, double dt, int threads, uint64_t seed, Place place, Advance advance) {
    std::atomic<int> counter{0};
    std::vector<Tally> tallies(threads);
    std::vector<std::thread> pool;
    const auto begin = std::chrono::steady_clock::now();
    for (int k = 0; k < threads; k++)
        pool.emplace_back([&, k] { tallies[k] = work<STATE>(k, num, seed, counter, place, advance); });
    for (auto& thread : pool) thread.join();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    Tally all;
    for (const auto& t : tallies) all.sum += t.sum, all.squares += t.squares, all.lane_steps += t.lane_steps;
    const double mean = all.sum / num, variance = all.squares / num - mean * mean;
    std::printf("{\"seconds\": %.6f, \"live_steps\": %.0f, \"lane_steps\": %lld, \"mean\": %.6f, \"error\": %.6f}\n", seconds,
                all.sum, all.lane_steps, mean * dt, std::sqrt(variance / num) * dt);
}
