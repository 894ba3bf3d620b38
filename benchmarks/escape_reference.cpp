// What hand-written, hand-vectorised C++ needs for the job of escape_throughput.py: exits of dX = -X dt + eps dL from the
// unit disc, L two independent SaS(1) coordinates, Euler steps, Chambers-Mallows-Stuck draws from the distance to the pole.
// Usage: escape_reference num alpha eps dt threads seed     Prints one line of JSON.
#include "lanes.hpp"

int main(int argc, char** argv) {
    if (argc != 7) return std::fprintf(stderr, "usage: escape_reference num alpha eps dt threads seed\n"), 2;
    const float alpha = std::atof(argv[2]), eps = std::atof(argv[3]), dt = std::atof(argv[4]);
    const float inverse = 1 / alpha, rest = 1 - alpha, scale = std::pow(dt, inverse) * eps, keep = 1 - dt;
    auto place = [](auto& b, int i) { b.x[0][i] = b.x[1][i] = 0; };
    auto advance = [=](auto& b) {
        FOR_LANES {
            const float x = keep * b.x[0][i] + scale * stable(b, i, alpha, inverse, rest);
            const float y = keep * b.x[1][i] + scale * stable(b, i, alpha, inverse, rest);
            const uint32_t alive = b.alive[i], inside = (x * x + y * y < 1.0f) & alive;
            b.steps[i] += alive;
            b.x[0][i] = inside ? x : b.x[0][i];
            b.x[1][i] = inside ? y : b.x[1][i];
            b.alive[i] = inside;
        }
    };
    report<2>(std::atoi(argv[1]), dt, std::atoi(argv[5]), std::strtoull(argv[6], nullptr, 10), place, advance);
}
