"""Skewed, tempered, truncated stable and compound Poisson drivers.

Laws of increments by characteristic functions, tails by enumeration of words, Lévy measures by
closed forms and quadrature, exits against the exact walk (the integral equation of the Euler
skeleton, so that no step size and no asymptotics are to be excused), and the escape law where its
single-jump picture is to hold.
"""

from collections.abc import Callable, Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from check import Check
from scipy import integrate, special, stats

import levysde as ls
from levysde.noise import levy_constant
from levysde.random import split_uint64, step_words, trajectory_key

DRAWS = 1_000_000
CELLS = 600


@eqx.filter_jit
def _increments(driver, words, dt, dim):
    return jax.vmap(lambda column: driver.increment(column, dim, dt), in_axes=-1, out_axes=-1)(
        words
    )


@eqx.filter_jit
def _words(num: int, lanes: int):
    ids = jnp.stack([jnp.arange(lanes, dtype=jnp.uint32), jnp.zeros(lanes, jnp.uint32)])
    return step_words(
        trajectory_key(jnp.asarray(split_uint64(3)), ids), jnp.zeros(lanes, jnp.uint32), num
    )


def draw(driver, dim: int, dt: float, lanes: int = DRAWS) -> np.ndarray:
    words = _words(driver.words_per_step(dim), lanes)
    return np.asarray(_increments(driver, words, jnp.asarray(dt), dim), np.float64)


def characteristic(
    part: str, driver, dim: int, dt: float, k: list[float], psi: complex, source: str
) -> Iterator[Check]:
    """Modulus and phase: the part of `exp(i k x)` along the expected phase, and the one across
    it."""
    x = draw(driver, dim, dt)
    phase, modulus = np.array(k) @ x + dt * psi.imag, np.exp(-dt * psi.real)
    what = f"characteristic function of L_dt, d = {dim}, dt = {dt:g}, k = {k}"
    for name, values, expected in (
        ("modulus", np.cos(phase), modulus),
        ("component orthogonal to the expected phase", np.sin(phase), 0.0),
    ):
        if name == "component orthogonal to the expected phase" and not psi.imag:
            continue
        error = float(values.std() / np.sqrt(DRAWS))
        yield Check(
            part, f"{what}: {name}", float(values.mean()), float(expected), 0.01, source, error
        )


def laws() -> Iterator[Check]:
    a, b, k = 1.5, 0.5, 0.8
    psi = k**a * (1 - 1j * b * np.tan(np.pi * a / 2))
    closed = "closed form"
    yield from characteristic(
        "SkewedComponents", ls.SkewedComponents(a, b), 1, 1.0, [k], psi, closed + ", S1"
    )
    shifted = psi + 1j * b * np.tan(np.pi * a / 2) * k
    yield from characteristic(
        "SkewedComponents", ls.SkewedComponents(a, b, "S0"), 1, 0.5, [k], shifted, closed + ", S0"
    )
    psi = k * (1 + 1j * b * 2 / np.pi * np.log(k))
    yield from characteristic(
        "SkewedComponents", ls.SkewedComponents(1.0, b), 1, 0.3, [k], psi, closed + ", alpha = 1"
    )
    psi = 2 * ((1.2**2 + 0.25) ** 0.6 - 0.25**0.6)
    driver = ls.TemperedComponents(1.2, 2.0, tries=9)
    yield from characteristic(
        "TemperedComponents", driver, 2, 0.2, [1.2, -1.2], complex(psi), closed
    )
    psi = (2 * 1.2**2 + 0.25) ** 0.6 - 0.25**0.6
    driver = ls.TemperedIsotropic(1.2, 2.0, tries=9)
    yield from characteristic(
        "TemperedIsotropic", driver, 2, 0.2, [1.2, -1.2], complex(psi), closed
    )
    dt, k = 2e-3, 12.0
    psi = truncated(1.5, 1.0, k)
    driver = ls.TruncatedComponents(1.5, 1.0)
    yield from characteristic(
        "TruncatedComponents", driver, 1, dt, [k], complex(psi), "Lévy-Khintchine, quadrature"
    )
    # a coordinate of isotropic noise in d = 3: the Lévy measure of its radius against sin(k r)/(k
    # r)
    t3 = 2**1.5 * special.gamma(2.25) / (special.gamma(1.5) * special.gamma(0.25)) * 1.5
    psi = t3 * integrate.quad(lambda r: (1 - np.sinc(k * r / np.pi)) * r**-2.5, 0, 1, limit=400)[0]
    driver = ls.TruncatedIsotropic(1.5, 1.0)
    yield from characteristic(
        "TruncatedIsotropic",
        driver,
        3,
        1e-3,
        [0.0, k, 0.0],
        complex(psi),
        "Lévy-Khintchine, quadrature",
    )
    driver = ls.CompoundPoisson(2.0, ls.GaussianJump(0.8, 2), max_jumps=9)
    psi = 2.0 * (1 - np.exp(-0.64 * 2 / 2))
    yield from characteristic("CompoundPoisson", driver, 2, 0.3, [1.0, 1.0], complex(psi), closed)


def truncated(alpha: float, cutoff: float, k: float) -> float:
    """`int_0^c 2 (1 - cos kr) C_a r^(-1-a) dr`, the head weighted algebraically."""
    split = min(1.0 / k, cutoff)
    head = integrate.quad(
        lambda r: 2 * (np.sin(k * r / 2) / r) ** 2 if r else k * k / 2,
        0,
        split,
        weight="alg",
        wvar=(1 - alpha, 0),
    )[0]
    rest = integrate.quad(
        lambda r: (1 - np.cos(k * r)) * r ** (-1 - alpha), split, cutoff, limit=1000
    )[0]
    return 2 * levy_constant(alpha) * (head + rest)


def word_grid(enumerated: int, strata: int) -> tuple[np.ndarray, np.ndarray]:
    """Words and their probabilities: both ends one by one, geometric strata in between."""
    edges = np.unique(np.geomspace(enumerated, 2**31, strata + 1).astype(np.int64))
    low = np.concatenate([np.arange(enumerated), (edges[1:] + edges[:-1]) // 2])
    share = np.concatenate([np.ones(enumerated), np.diff(edges)]) * 2.0**-32
    return np.concatenate([low, 2**32 - 1 - low]).astype(np.uint32), np.concatenate([share, share])


def tails() -> Iterator[Check]:
    (angles, angle_share), (second, second_share) = word_grid(4096, 400), word_grid(32, 150)
    signed = np.concatenate([angles >> 1 << 1, angles | 1])
    words = np.stack([g.ravel() for g in np.meshgrid(signed, second, indexing="ij")])
    weights = np.outer(np.concatenate([angle_share, angle_share]) / 2, second_share).ravel()
    for alpha, beta in ((0.7, 0.6), (1.0, 0.6), (1.5, 0.6), (1.9, -0.9)):
        x = np.asarray(
            _increments(ls.SkewedComponents(alpha, beta), jnp.asarray(words), jnp.asarray(1.0), 1)[
                0
            ],
            np.float64,
        )
        for name, side, values in (("upper", 1 + beta, x), ("lower", 1 - beta, -x)):
            level = (levy_constant(alpha) / alpha * side / 1e-8) ** (1 / alpha)
            measured = float(np.sum(weights[values > level]))
            what = (
                f"probability that a draw exceeds the 1e-8 {name} quantile, float32, "
                f"alpha = {alpha}, beta = {beta}"
            )
            yield Check(
                "SkewedComponents",
                what,
                measured,
                1e-8,
                0.01,
                "asymptotic tail C_a (1 ± beta) / a x^-a; the value is computed by enumerating "
                "random words",
            )


def measures() -> Iterator[Check]:
    for dim, driver in ((1, ls.TemperedComponents(1.5, 2.0)), (3, ls.TemperedIsotropic(1.5, 2.0))):
        nu, m = (dim + 1.5) / 2, 0.5
        front = 1.5 / special.gamma(0.25) * 2 * (2 * m) ** nu / (2**dim * special.gamma(dim / 2))
        value = integrate.quad(lambda r: r ** (dim - 1 - nu) * special.kv(nu, m * r), 5.0, 200.0)[0]  # noqa: B023
        part = type(driver).__name__
        what = f"nu(|y| > 5), d = {dim}, alpha = 1.5, length = 2"
        total = driver.levy_rays(dim, 64, 0).total(5.0)
        yield Check(part, what, total, front * value, 1e-6, "Bessel density, quadrature")
    rays = ls.TruncatedIsotropic(1.5, 3.0).levy_rays(2, 64, 0)
    expected = 2**1.5 * special.gamma(1.75) / special.gamma(0.25) * (1 - 3**-1.5)
    yield Check(
        "TruncatedIsotropic",
        "nu(|y| > 1), d = 2, alpha = 1.5, cutoff = 3",
        rays.total(1.0),
        expected,
        1e-6,
        "closed form",
    )
    jump = ls.ParetoJump(1.5, 0.5, 3)
    rays = ls.CompoundPoisson(2.0, jump).levy_rays(3, 2**14, 0)
    yield Check(
        "ParetoJump",
        "nu(|y| > 2), intensity 2, scale 0.5, 16384 drawn jumps",
        rays.total(2.0),
        2 * 4**-1.5,
        0.01,
        "closed form",
    )


def walk(density: Callable, dt: float, no_jump: float = 0.0) -> tuple[float, float]:
    """Mean number of steps, and chance of the right side, of `x <- (1 - dt) x + noise` from 0 out
    of (-1, 1)."""
    width = 2 / CELLS
    x = (np.arange(CELLS) + 0.5) * width - 1
    start = (1 - dt) * x
    kernel = density(x[None, :] - start[:, None]) * width
    at = np.clip((start - x[0]) / width, 0, CELLS - 1 - 1e-9)
    left = at.astype(int)
    kernel[np.arange(CELLS), left] += no_jump * (1 - at + left)
    kernel[np.arange(CELLS), left + 1] += no_jump * (at - left)
    y = np.concatenate([np.linspace(0, 3, 6001), np.geomspace(3, 190, 2000)[1:]])
    values = density(y)
    beyond = np.append(np.cumsum((np.diff(y) * (values[1:] + values[:-1]) / 2)[::-1])[::-1], 0)
    both = np.linalg.solve(
        np.eye(CELLS) - kernel, np.stack([np.ones(CELLS), np.interp(1 - start, y, beyond)], 1)
    )
    return tuple(float(np.interp(0, x, column)) for column in both.T)


def inverted(exponent: Callable, epsilon: float, dt: float) -> Callable:
    """The density of `epsilon L_dt` from its exponent, by Fourier inversion on a period of 400."""
    num, period = 2**19, 400.0
    k = np.fft.fftfreq(num, period / num) * 2 * np.pi
    values = np.fft.fftshift(np.fft.fft(np.exp(-dt * exponent(epsilon * k)))).real / period
    grid = (np.arange(num) - num / 2) * period / num
    return lambda y: np.interp(y, grid, values, 0, 0)


def simulated(driver, epsilon: float, dt: float, num: int, dim: int = 1):
    dynamics = ls.SGD(ls.Quadratic(hessian=jnp.ones(dim)), driver, epsilon=epsilon)
    ball = ls.Ball(radius=1.0, center=jnp.zeros(dim))
    run = ls.simulate_escape(
        ls.EulerMaruyama(dynamics, dt=dt), ball, jnp.zeros(dim), num=num, seed=7
    )
    return run, ls.escape_law(dynamics, ball, num_rays=2**15, check=False)


def exits() -> Iterator[Check]:
    num, source = 40_000, "integral equation of the discrete Euler steps"

    def skewed(k):
        return np.abs(k) ** 1.5 * (1 - 0.5j * np.tan(0.75 * np.pi) * np.sign(k))

    def tempered(k):
        return (k * k + 1 / 9) ** 0.75 - (1 / 9) ** 0.75

    def gaussian(y):
        chance = stats.poisson(0.02).pmf
        return sum(chance(n) * stats.norm(scale=0.6 * np.sqrt(n)).pdf(y) for n in range(1, 5))

    cases = (
        (ls.SkewedComponents(1.5, 0.5), 0.2, 0.04, inverted(skewed, 0.2, 0.04), 0.0),
        (ls.TemperedComponents(1.5, 3.0, tries=5), 0.3, 0.04, inverted(tempered, 0.3, 0.04), 0.0),
        (ls.TemperedIsotropic(1.5, 3.0, tries=5), 0.3, 0.04, inverted(tempered, 0.3, 0.04), 0.0),
        (ls.CompoundPoisson(0.5, ls.GaussianJump(1.0)), 0.6, 0.04, gaussian, np.exp(-0.02)),
    )
    for driver, epsilon, dt, density, no_jump in cases:
        steps, right = walk(density, dt, no_jump)
        run, _ = simulated(driver, epsilon, dt, num)
        part, where = type(driver).__name__, f"OU in (-1, 1), epsilon = {epsilon}, dt = {dt}"
        error = float(run.steps.std() / np.sqrt(num))
        yield Check(
            part,
            f"mean steps to exit, {where}",
            float(run.steps.mean()),
            steps,
            0.03,
            source,
            error,
        )
        if part == "SkewedComponents":
            share = float((run.first_outside[:, 0] > 0).mean())
            error = float(np.sqrt(share * (1 - share) / num))
            yield Check(
                part,
                f"share of exits to the right, beta = 0.5, {where}",
                share,
                right,
                0.02,
                source,
                error,
            )
            yield Check(
                part,
                f"share of exits to the right compared with its limit for small epsilon, {where}",
                share,
                0.75,
                0.1,
                "(1 + beta)/2, leading order, Pavlyukevich 2011",
            )


def escape_laws() -> Iterator[Check]:
    """Small noise, long tempering length: the law's mean, and its local power of epsilon, against
    runs."""
    num, length = 4_000, 10.0
    driver = ls.TemperedComponents(1.5, length)
    (first, law), (second, other) = (
        simulated(driver, epsilon, 0.05, num) for epsilon in (0.1, 0.05)
    )
    name, error = "TemperedComponents", 1 / np.sqrt(num)
    what = f"alpha = 1.5, length = {length:g}, OU in (-1, 1)"
    mean = float(second.time.mean())
    yield Check(
        name,
        f"mean escape time, {what}, epsilon = 0.05",
        mean,
        other.mean,
        0.15,
        "escape law (leading order)",
        mean * error,
    )
    power = float(np.log2(second.time.mean() / first.time.mean()))
    expected = float(np.log2(other.mean / law.mean))
    source = "escape law; for stable noise it would be 1.5"
    yield Check(
        name,
        f"power of epsilon from 0.1 to 0.05, {what}",
        power,
        expected,
        0.1,
        source,
        error * 2**0.5 / np.log(2),
    )
    driver = ls.CompoundPoisson(0.01, ls.GaussianJump(1.0, 2))
    run, law = simulated(driver, 0.5, 0.1, num, dim=2)
    expected = 0.01 * stats.chi2(2).sf(4.0)
    what = "rare Gaussian jumps, intensity 0.01, d = 2, epsilon = 0.5"
    yield Check(
        "escape_law",
        f"rate of {what}",
        law.rate,
        expected,
        0.02,
        "P(|Y| > 2) intensity",
        law.rate_error,
    )
    mean = float(run.time.mean())
    yield Check(
        "CompoundPoisson",
        f"mean escape time, {what}",
        mean,
        1 / expected,
        0.1,
        "escape law",
        mean * error,
    )
    driver = ls.CompoundPoisson(0.5, ls.ParetoJump(1.5, 1.0, 2))
    run, law = simulated(driver, 0.05, 0.05, num, dim=2)
    mean, what = (
        float(run.time.mean()),
        "Pareto jumps, alpha = 1.5, scale 1, intensity 0.5, d = 2, epsilon = 0.05",
    )
    yield Check(
        "CompoundPoisson",
        f"mean escape time, {what}",
        mean,
        2 * 20**1.5,
        0.15,
        "escape law",
        mean * error,
    )


def checks() -> Iterator[Check]:
    yield from laws()
    yield from tails()
    yield from measures()
    yield from exits()
    yield from escape_laws()
