"""What escape_throughput.py runs side by side: the same job by levysde, C++, numba and diffrax,
each at its best. Those of `array_peers.py` are two more.

Each peer compiles in `prepare`, apart from the runs, and draws the same law by Chambers, Mallows
and Stuck from the angle's distance to its pole (31 bits or more: a 24-bit angle would be short of
large jumps, and quicker to no purpose).
"""

import functools
import json
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import diffrax
import jax
import jax.numpy as jnp
import lineax
import numpy as np

import levysde as ls
from levysde.random import split_uint64, step_words, trajectory_key

ALPHA, EPSILON, DT, DIM, RADIUS = 1.5, 0.1, 1e-3, 2, 1.0
CPP_FLAGS = (
    "-std=c++17 -O3 -march=native -ffast-math -fopenmp-simd -mprefer-vector-width=512 -lpthread"
)


@dataclass(frozen=True)
class Run:
    """One timed run. Steps are those of living trajectories; `mean` and `error` are in SDE time."""

    seconds: float
    live_steps: float
    mean: float
    error: float
    num: int

    @property
    def nanoseconds(self) -> float:
        return self.seconds / self.live_steps * 1e9


def run_of(seconds: float, steps: np.ndarray) -> Run:
    steps = np.asarray(steps, np.float64)
    return Run(
        seconds,
        steps.sum(),
        steps.mean() * DT,
        steps.std(ddof=1) / np.sqrt(steps.size) * DT,
        steps.size,
    )


class Levysde:
    def __init__(self, num: int, threads: int, exact: bool = False):
        self.name, self.num, self.threads, self.exact = (
            "levysde" + ", exact" * exact,
            num,
            threads,
            exact,
        )
        how = "the draw of the other peers" if exact else "one word a draw"
        self.settings = (
            f"simulate_escape, devices={threads}, lanes and chunk by default, float32, {how}"
        )

    def prepare(self) -> None:
        well = ls.Quadratic(hessian=jnp.eye(DIM))
        dynamics = ls.SGD(
            well, ls.StableComponents(alpha=ALPHA, exact_sampler=self.exact), epsilon=EPSILON
        )
        self.kernel = ls.EulerMaruyama(dynamics, dt=DT)
        self.domain, self.start = ls.Ball(radius=RADIUS, center=jnp.zeros(DIM)), jnp.zeros(DIM)
        # all of the run: the lane block halves as it drains, and each size compiles once
        self.run(0)

    def run(self, seed: int) -> Run:
        start = time.perf_counter()
        result = ls.simulate_escape(
            self.kernel,
            self.domain,
            self.start,
            num=self.num,
            seed=seed,
            max_time=1e6,
            devices=self.threads,
        )
        seconds = time.perf_counter() - start
        if not result.exited.all():
            raise RuntimeError("a trajectory did not exit by max_time")
        return run_of(seconds, result.steps)


class Cpp:
    """benchmarks/escape_reference.cpp, vectorised over lanes, its own process; timed inside, after
    start-up."""

    def __init__(self, num: int, threads: int):
        self.name, self.num, self.threads = "C++", num, threads
        self.settings = (
            f"g++ {CPP_FLAGS}; {threads} threads, 32 lanes, 256 steps between refills, float32, "
            "xoshiro128+"
        )

    def prepare(self) -> None:
        self.build(Path(__file__).with_name("escape_reference.cpp"))

    def run(self, seed: int) -> Run:
        return self.time(self.num, ALPHA, EPSILON, DT, self.threads, seed)

    def build(self, source: Path, *options: str) -> None:
        if shutil.which("g++") is None:
            raise ImportError("the C++ reference needs g++, which is not on the path")
        self.folder = tempfile.TemporaryDirectory()
        self.program = str(Path(self.folder.name, source.stem))
        subprocess.run(
            ["g++", str(source), "-o", self.program, *options, *CPP_FLAGS.split()], check=True
        )

    def time(self, *arguments: float) -> Run:
        line = subprocess.run(
            [self.program, *map(str, arguments)], check=True, capture_output=True, text=True
        ).stdout
        row = json.loads(line)
        return Run(row["seconds"], row["live_steps"], row["mean"], row["error"], self.num)


class Numba:
    """One trajectory an iteration of a parallel loop: as its documentation has it, or tuned by
    hand."""

    def __init__(self, num: int, threads: int, tuned: bool):
        self.name, self.num, self.threads, self.tuned = (
            f"numba, {'tuned' if tuned else 'np.random'}",
            num,
            threads,
            tuned,
        )
        how = (
            "float32, xoroshiro128+ in registers"
            if tuned
            else "float64, np.random and the textbook draw"
        )
        self.settings = (
            "njit(parallel=True, fastmath=True, cache=False), prange over trajectories, "
            f"{threads} threads, parallel_chunksize(16) against uneven loads, {how}"
        )

    def prepare(self) -> None:
        try:
            import numba
        except ImportError:
            raise ImportError('numba is missing. Type: pip install "levysde[bench]"') from None
        numba.set_num_threads(self.threads)
        self.chunks = numba.parallel_chunksize
        self.simulate = numba_tuned() if self.tuned else numba_textbook()
        real = np.float32 if self.tuned else np.float64
        self.numbers = real(ALPHA), real(EPSILON), real(DT)
        self.simulate(16, np.uint64(0), *self.numbers)

    def run(self, seed: int) -> Run:
        start = time.perf_counter()
        with self.chunks(16):
            steps = self.simulate(self.num, np.uint64(seed), *self.numbers)
        return run_of(time.perf_counter() - start, steps)


@functools.cache
def numba_textbook():
    import math

    import numba

    @numba.njit(fastmath=True)
    def stable(alpha):
        angle = np.pi * (np.random.random() - 0.5)  # noqa: NPY002  53 bits, numba's own generator
        exponential = np.random.standard_exponential()  # noqa: NPY002
        size = math.sin(alpha * angle) / math.cos(angle) ** (1 / alpha)
        return size * (math.cos((1 - alpha) * angle) / exponential) ** ((1 - alpha) / alpha)

    @numba.njit(parallel=True, fastmath=True, cache=False)
    def simulate(num, seed, alpha, eps, dt):
        steps = np.zeros(num, np.int64)
        scale, keep = eps * dt ** (1 / alpha), 1 - dt
        for n in numba.prange(num):
            np.random.seed(seed * num + n)  # noqa: NPY002  each thread holds a generator of its own
            x = y = 0.0
            count = 0
            while x * x + y * y < 1:
                x = keep * x + scale * stable(alpha)
                y = keep * y + scale * stable(alpha)
                count += 1
            steps[n] = count
        return steps

    return simulate


@functools.cache
def numba_tuned():
    import math

    import numba

    f32, u64 = np.float32, np.uint64
    unit, half, pi, quarter = f32(2.0**-31), f32(0.5), f32(np.pi), f32(np.pi / 2)
    below_one = f32(1 - 2.0**-24)

    @numba.njit(fastmath=True, inline="always")
    def stable(word, alpha, inverse, rest):
        angle = (word >> u64(33)) & u64(0x7FFFFFFF)
        tail = word & u64(0x7FFFFFFF)
        pole = (f32(np.int32(angle)) + half) * (unit * half * pi)
        centre = quarter - pole
        # never 0: fastmath knows no inf
        exponential = -math.log(min((f32(np.int32(tail)) + half) * unit, below_one))
        ratio = math.log(math.cos(rest * centre) / exponential)
        size = math.sin(alpha * centre) * math.exp(
            (rest * ratio - math.log(math.sin(pole))) * inverse
        )
        return size if (word >> u64(32)) & u64(1) else -size

    @numba.njit(inline="always")
    def mix(z):  # splitmix64
        z = (z ^ (z >> u64(30))) * u64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> u64(27))) * u64(0x94D049BB133111EB)
        return z ^ (z >> u64(31))

    @numba.njit(parallel=True, fastmath=True, cache=False)
    def simulate(num, seed, alpha, eps, dt):
        steps = np.zeros(num, np.int64)
        inverse, rest = f32(1) / alpha, f32(1) - alpha
        scale, keep = f32(eps * dt**inverse), f32(1) - dt
        for n in numba.prange(num):
            first = mix(mix(seed + u64(1)) + u64(2 * n))
            second = mix(mix(seed + u64(1)) + u64(2 * n + 1)) | u64(1)
            x = y = f32(0)
            count = 0
            while x * x + y * y < f32(1):
                for coordinate in range(2):
                    word = first + second  # xoroshiro128+
                    second ^= first
                    first = ((first << u64(24)) | (first >> u64(40))) ^ second ^ (second << u64(16))
                    second = (second << u64(37)) | (second >> u64(27))
                    jump = scale * stable(word, alpha, inverse, rest)
                    if coordinate == 0:
                        x = keep * x + jump
                    else:
                        y = keep * y + jump
                count += 1
            steps[n] = count
        return steps

    return simulate


class StablePath(diffrax.AbstractPath):
    """A stable process whose clock counts steps, so that float32 times stay exact: the increment
    over step n."""

    key: jax.Array
    driver: ls.StableComponents
    dt: jax.Array
    own_words: bool
    t0 = 0.0
    t1 = float("inf")

    def evaluate(self, t0, t1=None, left=True, use_jumps=False):
        del t1, left, use_jumps
        step = jnp.round(t0).astype(jnp.uint32)
        if self.own_words:
            words = step_words(self.key[:, None], step[None], 2 * DIM)[:, 0]
        else:
            words = jax.random.bits(
                jax.random.fold_in(jax.random.wrap_key_data(self.key), step), (2 * DIM,)
            )
        return self.driver.increment(words, DIM, self.dt)


class Diffrax:
    """diffeqsolve with an Event under vmap and jit: every lane runs until the last one has
    exited."""

    def __init__(self, num: int, own_words: bool):
        self.name, self.num, self.own_words = (
            f"diffrax, {'levysde words' if own_words else 'jax.random'}",
            num,
            own_words,
        )
        self.option = (
            {"xla_cpu_prefer_vector_width": "512"} if jax.default_backend() == "cpu" else {}
        )
        source = "levysde's words" if own_words else "jax.random.bits(fold_in(key, step))"
        self.settings = (
            "diffeqsolve(Euler, Event, SaveAt(t1=True), max_steps=None), vmap and jit, clock in "
            f"steps, float32, {self.option or 'no'} compiler options, levysde's sampler on "
            f"{source}"
        )

    def prepare(self) -> None:
        def steps(key, driver, dt, eps):
            drift = diffrax.ODETerm(lambda t, x, args: -dt * x)
            noise = diffrax.ControlTerm(
                lambda t, x, args: lineax.DiagonalLinearOperator(eps * jnp.ones(DIM)),
                StablePath(key, driver, dt, self.own_words),
            )
            solution = diffrax.diffeqsolve(
                diffrax.MultiTerm(drift, noise),
                diffrax.Euler(),
                t0=0.0,
                t1=1e7,
                dt0=1.0,
                y0=jnp.zeros(DIM),
                event=diffrax.Event(lambda t, x, args, **kwargs: jnp.sum(x * x) >= RADIUS**2),
                saveat=diffrax.SaveAt(t1=True),
                max_steps=None,
            )
            return solution.stats["num_steps"]

        lanes = jax.jit(
            jax.vmap(steps, in_axes=(-1, None, None, None)), compiler_options=self.option
        )
        self.numbers = (ls.StableComponents(ALPHA), jnp.asarray(DT), jnp.asarray(EPSILON))
        self.compiled = lanes.lower(self.keys(0), *self.numbers).compile()

    def keys(self, seed: int) -> jax.Array:
        ids = jnp.asarray(split_uint64(np.arange(self.num, dtype=np.uint64)))
        return trajectory_key(jnp.asarray(split_uint64(seed)), ids)

    def run(self, seed: int) -> Run:
        keys = jax.block_until_ready(self.keys(1_000_000 + seed))
        start = time.perf_counter()
        steps = jax.block_until_ready(self.compiled(keys, *self.numbers))
        return run_of(time.perf_counter() - start, steps)
