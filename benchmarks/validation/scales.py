"""Scales that match covariances, noise of low rank, and the two conventions of multiplicative
noise."""

import itertools
from collections.abc import Iterator
from math import atan, exp, log, sqrt

import jax
import jax.numpy as jnp
import numpy as np
from check import Check
from scipy import integrate

import levysde as ls
from levysde.noise import DenseScale, DiagonalScale, ScalarScale, levy_constant, unit_variance

ALPHA = 1.5
SHAPE = np.array([[2.0, 0.5, 0.1], [0.5, 1.0, -0.3], [0.1, -0.3, 0.4]])
TALL = np.array([[1.0, 2.0], [0.5, -1.0], [0.0, 0.3]])


def checks() -> Iterator[Check]:
    yield from maps()
    yield from variances()
    yield from covariances()
    yield from low_rank()
    yield from flows()
    yield from conventions()
    yield from stratonovich()


def maps() -> Iterator[Check]:
    """`apply` against a matrix product in float64."""
    rng = np.random.default_rng(0)
    matrix, x = rng.normal(size=(4, 4)), rng.normal(size=4)
    cases = [
        (ScalarScale(jnp.asarray(0.7)), 0.7 * np.eye(4)),
        (DiagonalScale(jnp.asarray(matrix[0], dtype=float)), np.diag(matrix[0])),
        (DenseScale(jnp.asarray(matrix, dtype=float)), matrix),
        (ls.LowRankScale(matrix[:, :2]), matrix[:, :2]),
        (ls.StateScale(lambda x: jnp.outer(x, x[:3] ** 2), dim=4), np.outer(x, x[:3] ** 2)),
    ]
    for scale, expected in cases:
        apply = jax.vmap(scale.apply, in_axes=(-1, None), out_axes=-1)
        columns = apply(jnp.eye(expected.shape[1]), jnp.asarray(x, dtype=float))
        error = np.abs(np.asarray(columns, float) - expected).max() / np.abs(expected).max()
        what = "columns of S(x): largest error over the largest entry"
        yield Check(type(scale).__name__, what, float(error), 0.0, 5e-7, "numpy, float64")


def variances() -> Iterator[Check]:
    """The variance of a coordinate at time 1, by formulas for each law."""
    a, cutoff, length = 1.5, 3.0, 2.0
    cases = [
        ("Brownian", ls.Brownian(), 1.0, "definition"),
        (
            "StableComponents, a = 2",
            ls.StableComponents(alpha=2.0),
            2.0,
            "SaS(1) at a = 2 is N(0, 2)",
        ),
        (
            "StableIsotropic, a = 1.5",
            ls.StableIsotropic(alpha=a),
            2.0,
            "convention: twice the squared scale",
        ),
        (
            "TemperedComponents",
            ls.TemperedComponents(alpha=a, length=length),
            a * length ** (2 - a),
            "a m^(a-2)",
        ),
        (
            "TruncatedComponents",
            ls.TruncatedComponents(alpha=a, cutoff=cutoff),
            2 * levy_constant(a) * cutoff ** (2 - a) / (2 - a),
            "second moment of the Lévy measure",
        ),
        ("StudentT, df = 5", ls.StudentT(df=5.0, dt=0.1), 5 / 3, "df/(df - 2)"),
        (
            "GaussianMixture",
            ls.GaussianMixture(weights=[0.9, 0.1], scales=[1.0, 10.0], dt=0.1),
            10.9,
            "sum of w s^2",
        ),
        (
            "CompoundPoisson",
            ls.CompoundPoisson(intensity=2.0, jump=ls.GaussianJump(std=3.0)),
            18.0,
            "lambda E Y^2",
        ),
    ]
    for name, driver, expected, source in cases:
        what = f"variance of a unit increment of {name}"
        yield Check("unit_variance", what, unit_variance(driver), expected, 1e-4, source)


def covariances() -> Iterator[Check]:
    """A step of `dt = eta` has `eta^2 C`; batches by enumeration; the stationary law of discrete
    SGD."""
    for driver in (ls.Brownian(), ls.StableComponents(alpha=2.0), ls.StableIsotropic(alpha=2.0)):
        eta, n = 0.1, 2_000_000
        scale = ls.covariance_scale(SHAPE, driver)
        kernel = ls.EulerMaruyama(
            ls.SGD(ls.Quadratic(hessian=np.eye(3)), driver, learning_rate=eta, scale=scale), dt=eta
        )
        words = jax.random.bits(jax.random.key(0), (kernel.words_per_step, n), jnp.uint32)
        step = jax.jit(
            jax.vmap(lambda w, kernel=kernel: kernel.step(w, jnp.zeros(3)), in_axes=-1, out_axes=-1)
        )
        x = np.asarray(step(words), float) / eta
        for i, j in ((0, 0), (0, 1)):
            product = x[i] * x[j]
            error = float(product.std() / np.sqrt(n))
            what = f"{type(driver).__name__} at a = 2: C[{i}, {j}] of one step"
            yield Check(
                "covariance_scale",
                what,
                float(product.mean()),
                SHAPE[i, j],
                0.03,
                "eta^2 C of an SGD step",
                error,
            )
    rows = np.random.default_rng(3).normal(size=(6, 3)) * [1.0, 2.0, 0.3] + [5.0, 0.0, 1.0]
    for replacement in (True, False):
        draws = (
            itertools.product(range(6), repeat=3)
            if replacement
            else itertools.combinations(range(6), 3)
        )
        expected = np.cov(np.array([rows[list(draw)].mean(0) for draw in draws]).T, bias=True)
        factor = np.asarray(
            ls.minibatch_scale(
                rows, ls.Brownian(), batch_size=3, replacement=replacement
            ).low_rank_factor,
            float,
        )
        error = float(np.abs(factor @ factor.T - expected).max() / np.abs(expected).max())
        what = (
            f"S S' of batches of 3 of 6, {'with' if replacement else 'without'} replacement: "
            "largest error"
        )
        yield Check("minibatch_scale", what, error, 0.0, 1e-6, "every batch enumerated")
    cut = ls.minibatch_scale(rows, ls.Brownian(), batch_size=3, rank=1)
    spectrum = np.linalg.eigvalsh(np.cov(rows.T))
    yield Check(
        "minibatch_scale",
        "share of the trace at rank 1",
        float(cut.trace_share),
        float(spectrum[-1] / spectrum.sum()),
        1e-6,
        "eigenvalues of the covariance",
    )
    matched = float(ls.trace_matched(ls.LowRankScale(TALL), 3).noise_factor)
    yield Check(
        "trace_matched",
        "isotropic scale of a (3, 2) factor",
        matched,
        sqrt((TALL**2).sum() / 3),
        1e-6,
        "tr(SS')/d",
    )
    yield from stationary()


def stationary() -> Iterator[Check]:
    """SGD with `C_B = H/B` on a quadratic: variance `eta C_B / (h (2 - eta h)) = eta / (B (2 - eta
    h))`."""
    eta, batch, n, curvatures = 0.2, 4, 400_000, np.array([1.0, 4.0])
    well = ls.Quadratic(hessian=np.diag(curvatures))
    for driver in (ls.Brownian(), ls.StableComponents(alpha=2.0)):
        scale = ls.hessian_aligned(well, driver, batch_size=batch)
        kernel = ls.EulerMaruyama(ls.SGD(well, driver, learning_rate=eta, scale=scale), dt=eta)
        x = run(kernel, jnp.zeros(2), 60, n)
        for i, h in enumerate(curvatures):
            square = x[i] ** 2
            what = f"stationary variance of SGD along curvature {h:g}, {type(driver).__name__}"
            source = "Liu, Ziyin, Ueda 2021, exact for discrete steps"
            yield Check(
                "hessian_aligned",
                what,
                float(square.mean()),
                eta / (batch * (2 - eta * h)),
                0.02,
                source,
                float(square.std() / np.sqrt(n)),
            )


def run(kernel: ls.EulerMaruyama, x0: jax.Array, steps: int, n: int) -> np.ndarray:
    """The positions of n trajectories after some steps, shape `(d, n)`."""
    step = jax.vmap(kernel.step, in_axes=-1, out_axes=-1)
    start = jnp.broadcast_to(x0[:, None], (x0.shape[0], n))

    def advance(x, key):
        return step(jax.random.bits(key, (kernel.words_per_step, n), jnp.uint32), x), None

    keys = jax.random.split(jax.random.key(7), steps)
    return np.asarray(jax.jit(lambda keys: jax.lax.scan(advance, start, keys)[0])(keys), float)


def low_rank() -> Iterator[Check]:
    """Two noise coordinates in three dimensions, through the law and the engine."""
    well, ball = ls.Quadratic(hessian=np.ones(3)), ls.Ball(radius=1.0, center=np.zeros(3))
    low = ls.LowRankScale(TALL)
    dynamics = ls.SGD(well, ls.StableComponents(alpha=ALPHA), epsilon=0.01, scale=low)
    law = ls.escape_law(dynamics, ball, check=False)
    expected = (
        2
        * levy_constant(ALPHA)
        / ALPHA
        * 0.01**ALPHA
        * np.sum(np.linalg.norm(TALL, axis=0) ** ALPHA)
    )
    yield Check(
        "LowRankScale",
        "components, ball: escape rate",
        law.rate,
        float(expected),
        1e-5,
        "column lengths",
    )
    times = simulated(dynamics, ball, jnp.zeros(3), 10_000)
    yield mean_time(
        "LowRankScale", "components, ball, eps = 0.01: simulated mean over theory", times * expected
    )
    driver = ls.StableIsotropic(alpha=ALPHA)
    dynamics = ls.SGD(well, driver, epsilon=0.01, scale=low)
    angle = (np.arange(10_000) + 0.5) / 10_000 * 2 * np.pi
    reach = np.linalg.norm(TALL @ np.stack([np.cos(angle), np.sin(angle)]), axis=0)
    expected = driver.levy_rays(2, 64, 0).total() * 0.01**ALPHA * np.mean(reach**ALPHA)
    law = ls.escape_law(dynamics, ball, check=False)
    yield Check(
        "LowRankScale",
        "isotropic, ball: escape rate",
        law.rate,
        float(expected),
        1e-4,
        "quadrature over the circle",
    )
    root = ls.covariance_scale(2 * TALL @ TALL.T, driver)
    law = ls.escape_law(
        ls.SGD(well, driver, epsilon=0.01, scale=root), ball, num_rays=2**15, check=False
    )
    yield Check(
        "covariance_scale",
        "isotropic, ball: escape rate with the symmetric square root of the 3 x 3 covariance "
        "instead of a low-rank factor",
        law.rate,
        float(expected),
        0.01,
        "both scales give the same distribution",
        law.rate_error,
    )
    times = simulated(dynamics, ball, jnp.zeros(3), 10_000)
    yield mean_time(
        "LowRankScale", "isotropic, ball, eps = 0.01: simulated mean over theory", times * expected
    )


def simulated(dynamics: ls.SGD, domain, start: jax.Array, num: int) -> np.ndarray:
    return ls.simulate_escape(
        ls.EulerMaruyama(dynamics, dt=0.05), domain, start, num=num, seed=5
    ).time


def mean_time(part: str, what: str, ratio: np.ndarray) -> Check:
    source = "limit of small epsilon"
    return Check(
        part, what, float(ratio.mean()), 1.0, 0.06, source, float(ratio.std() / np.sqrt(ratio.size))
    )


def flows() -> Iterator[Check]:
    """One jump along the field, against closed forms and scipy's DOP853 at 1e-12."""
    what = "Marcus flow of S = 1 + 0.8 x from 0.3"
    moving = affine("marcus", 1.0, 0.8)
    for z in (-1e6, -20.0, -1.0, 1e-6, 1.0, 10.0):
        u = float(moving.kick(jnp.array([z]), jnp.array([0.3]))[0])
        expected = (1 + 0.8 * 0.3) * np.expm1(0.8 * z) / 0.8
        yield Check("SGD, Marcus", f"{what}, jump {z:g}", u, float(expected), 3e-5, "closed form")
    well = ls.Quadratic(hessian=np.ones(2))
    scale = ls.StateScale(
        lambda x: jnp.stack([jnp.stack([1 + x[0] * x[1], jnp.sin(x[1])]), x]), dim=2
    )
    mixed = ls.SGD(well, ls.Brownian(), epsilon=1.0, scale=scale, convention="marcus")
    y, x = np.array([0.9, -1.3]), np.array([0.4, -0.3])

    def field(_, p):
        return np.array([[1 + p[0] * p[1], np.sin(p[1])], p]) @ y

    exact = (
        integrate.solve_ivp(field, (0, 1), x, method="DOP853", rtol=1e-12, atol=1e-14).y[:, -1] - x
    )
    u = np.asarray(mixed.kick(jnp.asarray(y, dtype=float), jnp.asarray(x, dtype=float)), float)
    for i in range(2):
        yield Check(
            "SGD, Marcus",
            f"flow of a matrix field, coordinate {i}",
            float(u[i]),
            float(exact[i]),
            3e-5,
            "DOP853",
        )


def affine(convention: str, epsilon: float, slope: float) -> ls.SGD:
    scale = ls.StateScale(lambda x: 1 + slope * x, dim=1)
    well = ls.Quadratic(hessian=np.ones(1))
    return ls.SGD(
        well, ls.StableComponents(alpha=ALPHA), epsilon=epsilon, scale=scale, convention=convention
    )


def conventions() -> Iterator[Check]:
    """S = 1 + c x on (-b, a): Ito leaves past a and -b, Marcus past their logarithms."""
    c, a, b = 1.5, 1.0, 0.6
    box = ls.Box(lower=np.array([-b]), upper=np.array([a]))
    reach = {"ito": (a, b), "marcus": (log(1 + c * a) / c, -log(1 - c * b) / c)}
    for name, ends in reach.items():
        part = f"SGD, {name.capitalize()}"
        powers = [end**-ALPHA for end in ends]
        for epsilon in (0.1, 0.05, 0.025):
            dynamics = affine(name, epsilon, c)
            expected = levy_constant(ALPHA) / ALPHA * epsilon**ALPHA * sum(powers)
            what = f"S = 1 + 1.5 x on (-0.6, 1), eps = {epsilon:g}"
            if epsilon == 0.05:
                rate = ls.escape_law(dynamics, box, check=False).rate
                yield Check(
                    part,
                    f"{what}: escape rate",
                    rate,
                    expected,
                    1e-5,
                    "Lévy tail at the closed-form flow",
                )
            num = 16_000 if epsilon == 0.025 else 4000  # one standard error is 0.8%, 1.6%
            run = ls.simulate_escape(
                ls.EulerMaruyama(dynamics, dt=0.02), box, jnp.zeros(1), num=num, seed=1
            )
            ratio = run.time * expected
            # the law is a limit for small epsilon, so a larger epsilon has a larger tolerance
            room = {0.1: 0.15, 0.05: 0.08, 0.025: 0.05}[epsilon]
            yield Check(
                part,
                f"{what}: simulated mean over theory",
                float(ratio.mean()),
                1.0,
                room,
                "limit of small epsilon",
            )
            share, right = powers[0] / sum(powers), run.first_outside[:, 0] > 0
            yield Check(
                part,
                f"{what}: share that leaves on the right",
                float(right.mean()),
                share,
                2 * room,
                "limit of small epsilon",
            )
    c, radius, driver = 2.0, 0.9, ls.StableIsotropic(alpha=1.2)
    scale = ls.StateScale(lambda x: 1 + c * jnp.sum(x * x), dim=2)
    well = ls.Quadratic(hessian=np.ones(2))
    dynamics = ls.SGD(well, driver, epsilon=0.05, scale=scale, convention="marcus")
    rate = ls.escape_law(
        dynamics, ls.Ball(radius=radius, center=np.zeros(2)), num_rays=256, check=False
    ).rate
    expected = driver.levy_rays(2, 64, 0).total() * (0.05 * sqrt(c) / atan(sqrt(c) * radius)) ** 1.2
    yield Check(
        "SGD, Marcus",
        "S = 1 + 2 |x|^2, isotropic, disc: escape rate",
        rate,
        expected,
        1e-5,
        "r = tan(sqrt(c) z)/sqrt(c)",
    )


def stratonovich() -> Iterator[Check]:
    """dX = s X dW from 1 at t = 1: the mean, under both conventions."""
    s, n = 0.5, 400_000
    for driver in (ls.Brownian(), ls.StableComponents(alpha=2.0)):
        for name in ("ito", "marcus"):
            scale = ls.StateScale(lambda x: x, dim=1)
            well = ls.Quadratic(hessian=np.zeros(1))
            dynamics = ls.SGD(well, driver, epsilon=s, scale=scale, convention=name)
            x = run(ls.EulerMaruyama(dynamics, dt=0.05), jnp.ones(1), 20, n)
            variance = 1.0 if isinstance(driver, ls.Brownian) else 2.0
            expected = exp(variance * s * s / 2) if name == "marcus" else 1.0
            what = f"geometric Brownian motion, {type(driver).__name__}: mean at t = 1"
            source = "exp(v s^2/2), Stratonovich" if name == "marcus" else "martingale"
            yield Check(
                f"SGD, {name.capitalize()}",
                what,
                float(x.mean()),
                expected,
                0.01,
                source,
                float(x.std() / np.sqrt(n)),
            )
