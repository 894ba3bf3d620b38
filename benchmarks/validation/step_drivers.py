"""Student-t and Gaussian-mixture steps, and sums of drivers: law, tails by enumeration of words,
escapes against the law."""

from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from check import Check
from scipy import special, stats

import levysde as ls
from levysde.random import split_uint64, step_words, trajectory_key
from levysde.theory import escape_law

DRAWS = 2_000_000
ESCAPES = 10_000


@eqx.filter_jit
def increments(driver, words, dt, dim):
    return jax.vmap(lambda column: driver.increment(column, dim, dt), in_axes=-1, out_axes=-1)(
        words
    )


def draw(driver, dim: int, dt: float) -> np.ndarray:
    ids = jnp.stack([jnp.arange(DRAWS, dtype=jnp.uint32), jnp.zeros(DRAWS, jnp.uint32)])
    key = trajectory_key(jnp.asarray(split_uint64(1)), ids)
    words = step_words(key, jnp.zeros(DRAWS, jnp.uint32), driver.words_per_step(dim))
    return np.asarray(increments(driver, words, jnp.asarray(dt), dim), np.float64)


def mean_check(
    part: str, quantity: str, sample: np.ndarray, reference: float, tolerance: float, source: str
) -> Check:
    error = float(sample.std() / np.sqrt(sample.size))
    return Check(part, quantity, float(sample.mean()), reference, tolerance, source, error)


def t_characteristic_function(z: float, df: float) -> float:
    return float(
        z ** (df / 2) * special.kv(df / 2, z) / (2 ** (df / 2 - 1) * special.gamma(df / 2))
    )


def t_tail(df: float, dim: int, probability: float) -> float:
    """`P(|xi| > r)` at the r where it ought to be `probability`: low size words one by one, strata
    above, angles spread."""
    edges = np.unique(
        np.concatenate([np.arange(4097), np.geomspace(4096, 2**32, 600)]).astype(np.int64)
    )
    rng = np.random.default_rng(0)
    size, share = (
        np.repeat((edges[1:] + edges[:-1]) // 2, 256),
        np.repeat(np.diff(edges) * 2.0**-32, 256) / 256,
    )
    angle = np.argsort(rng.random((len(edges) - 1, 256)), 1).ravel() * 2**24 + rng.integers(
        0, 2**24, len(size)
    )
    words = jnp.asarray(np.stack([size, angle]).astype(np.uint32))
    x = np.asarray(increments(ls.StudentT(df, dt=1.0), words, jnp.asarray(1.0), dim), np.float64)
    return float(
        np.sum(share[np.sqrt(np.sum(x**2, 0)) > np.sqrt(dim * stats.f(dim, df).isf(probability))])
    )


def student_t() -> Iterator[Check]:
    for df, dim in ((0.5, 1), (0.5, 2), (3.0, 1), (3.0, 2), (30.0, 1), (30.0, 2)):
        where = (
            f"probability that the norm of a step exceeds its 1e-8 upper quantile, df = {df:g}, "
            f"d = {dim}, float32"
        )
        yield Check(
            "StudentT",
            where,
            t_tail(df, dim, 1e-8),
            1e-8,
            0.01,
            "F distribution; the value is computed by enumerating random words",
        )
    for df, dim in ((0.5, 3), (3.0, 5), (30.0, 3)):
        x = draw(ls.StudentT(df, dt=1.0), dim, 1.0)
        beyond = np.sum(x**2, 0) / dim > stats.f(dim, df).isf(0.05)
        yield mean_check(
            "StudentT",
            f"share of steps longer than the 95% quantile, df = {df:g}, d = {dim}",
            beyond,
            0.05,
            0.02,
            "F distribution",
        )
        k = np.full(dim, 0.8 / np.sqrt(dim))
        phi = t_characteristic_function(0.8 * np.sqrt(df), df)
        yield mean_check(
            "StudentT",
            f"characteristic function of a step at |k| = 0.8, df = {df:g}, d = {dim}",
            np.cos(k @ x),
            phi,
            0.01,
            "closed form with a Bessel function K",
        )
        value = float(np.exp(-ls.StudentT(df, dt=1.0).exponent(jnp.asarray(k))))
        yield Check(
            "StudentT",
            f"exp(-exponent) at |k| = 0.8, df = {df:g}, d = {dim}",
            value,
            phi,
            1e-5,
            "closed form with a Bessel function K",
        )
    # criteria fixed beforehand: 5% and five standard errors (1% each); what is left beside them is
    # the bulk of the noise
    for df, radius in ((1.5, 30.0), (2.0, 15.0), (3.0, 8.0)):
        eta = 0.1
        dynamics = ls.SGD(
            ls.Quadratic(hessian=jnp.eye(2)), ls.StudentT(df, dt=eta), learning_rate=eta
        )
        quantity = (
            f"mean escape time of SGD over the law's, df = {df:g}, eta = dt = 0.1, d = 2, r = "
            f"{radius:g}"
        )
        yield escape_check("StudentT", quantity, dynamics, radius, eta)


def escape_check(part: str, quantity: str, dynamics, radius: float, dt: float) -> Check:
    dim = dynamics.landscape.dim
    ball = ls.Ball(radius=radius, center=jnp.zeros(dim))
    law = escape_law(dynamics, ball, check=False)
    time = ls.simulate_escape(
        ls.EulerMaruyama(dynamics, dt=dt), ball, jnp.zeros(dim), num=ESCAPES, seed=1
    ).time
    ratio = time / law.mean
    return mean_check(
        part,
        quantity,
        ratio,
        1.0,
        0.05,
        "escape law: rate at which one jump from the minimum leaves",
    )


def mixture() -> Iterator[Check]:
    weights, scales = np.array([0.9, 0.09, 0.01]), np.array([1.0, 3.0, 10.0])
    driver = ls.GaussianMixture(weights, scales, dt=0.25)
    x = draw(driver, 2, 0.25)
    for size in (0.5, 2.0):
        phi = float(np.sum(weights * np.exp(-(scales**2) * 0.25 * size**2 / 2)))
        quantity = (
            f"E cos(k.L), |k| = {size:g}, weights 0.9 0.09 0.01, scales 1 3 10, dt = 0.25, d = 2"
        )
        yield mean_check(
            "GaussianMixture",
            quantity,
            np.cos(size * (0.6 * x[0] + 0.8 * x[1])),
            phi,
            0.02,
            "closed form",
        )
        value = float(np.exp(-0.25 * driver.exponent(jnp.array([0.6 * size, 0.8 * size]))))
        yield Check(
            "GaussianMixture", f"exp(-dt exponent), |k| = {size:g}", value, phi, 1e-5, "closed form"
        )
    for r in (2.0, 10.0):
        beyond = float(np.sum(weights * np.exp(-(r**2) / (2 * 0.25 * scales**2))))
        quantity = f"P(|L| > {r:g}), d = 2"
        yield mean_check(
            "GaussianMixture", quantity, np.hypot(*x) > r, beyond, 0.05, "Rayleigh tails, weighted"
        )


def sums() -> Iterator[Check]:
    driver = ls.DriverSum(
        (ls.Brownian(), 0.5), (ls.StableIsotropic(1.5), -2.0), (ls.StudentT(3.0, dt=0.25), 3.0)
    )
    phi = (
        0.25 * 0.25 * 0.09 / 2
        + 0.25 * 0.6**1.5
        - np.log(t_characteristic_function(0.9 * np.sqrt(3 * 0.25), 3.0))
    )
    phi = float(np.exp(-phi))
    x = draw(driver, 2, 0.25)
    what = "|k| = 0.3, Brownian/2 - 2 stable(1.5) + 3 t(3), dt = 0.25, d = 2"
    yield mean_check(
        "DriverSum",
        f"E cos(k.L), {what}",
        np.cos(0.3 * (0.6 * x[0] + 0.8 * x[1])),
        phi,
        0.01,
        "product of the parts",
    )
    value = float(np.exp(-0.25 * driver.exponent(jnp.array([0.18, 0.24]))))
    yield Check("DriverSum", f"exp(-dt exponent), {what}", value, phi, 1e-5, "product of the parts")
    both = ls.DriverSum((ls.StableComponents(1.5), 2.0), (ls.StableIsotropic(1.2), 0.5)).levy_rays(
        2, 512, 0
    )
    c = special.gamma(2.5) * np.sin(0.75 * np.pi) / np.pi
    isotropic = 2**1.2 * special.gamma(1.6) / special.gamma(0.4)
    expected = float(2**1.5 * 4 * c / 1.5 * 0.7**-1.5 + 0.5**1.2 * isotropic * 0.7**-1.2)
    quantity = "nu(|y| >= 0.7), 2 components(1.5) + isotropic(1.2)/2, d = 2"
    yield Check("DriverSum", quantity, both.total(0.7), expected, 1e-6, "closed form")
    well = ls.Quadratic(hessian=jnp.eye(2))
    dynamics = ls.SGD(
        well, ls.DriverSum((ls.Brownian(), 0.5), ls.StableComponents(1.5)), epsilon=0.03
    )
    quantity = (
        "mean escape time over the law's, Brownian/2 + components(1.5), eps = 0.03, dt = 0.01, "
        "unit disc"
    )
    yield escape_check("DriverSum", quantity, dynamics, 1.0, 0.01)
    dynamics = ls.SGD(
        well, ls.DriverSum(ls.StableComponents(1.5), (ls.StableIsotropic(1.2), 0.3)), epsilon=0.03
    )
    quantity = (
        "mean escape time over the law's, components(1.5) + 0.3 isotropic(1.2), eps = 0.03, dt = "
        "0.01, unit disc"
    )
    yield escape_check("DriverSum", quantity, dynamics, 1.0, 0.01)


def checks() -> Iterator[Check]:
    yield from student_t()
    yield from mixture()
    yield from sums()
