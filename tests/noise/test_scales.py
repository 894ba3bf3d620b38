"""Scales are the linear maps they say they are, match the covariances they are made of, and refuse
what does not fit."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from statistical import assert_close, assert_mean

import levysde as ls
from levysde.interfaces import is_lane_invariant
from levysde.noise import DenseScale, DiagonalScale, ScalarScale, as_scale, unit_variance
from levysde.protocols import Scale
from levysde.theory import escape_law

MATRIX = np.array([[1.0, 2.0, 0.0], [0.5, -1.0, 3.0], [0.0, 0.0, 2.0]])
TALL = np.array([[1.0, 2.0], [0.5, -1.0], [0.0, 0.3]])
AT = np.array([0.3, -0.2, 0.5])
CASES = {
    "identity": (None, ScalarScale, np.eye(3)),
    "int": (2, ScalarScale, 2 * np.eye(3)),
    "scalar": (0.5, ScalarScale, 0.5 * np.eye(3)),
    "diagonal": ([1.0, 2.0, -3.0], DiagonalScale, np.diag([1.0, 2.0, -3.0])),
    "dense": (MATRIX, DenseScale, MATRIX),
    "low-rank": (lambda: ls.LowRankScale(TALL), ls.LowRankScale, TALL),
    "state, number": (
        lambda: ls.StateScale(lambda x: 1 + x[0], dim=3),
        ls.StateScale,
        1.3 * np.eye(3),
    ),
    "state, factors": (
        lambda: ls.StateScale(lambda x: 1 + x, dim=3),
        ls.StateScale,
        np.diag(1 + AT),
    ),
    "state, matrix": (
        lambda: ls.StateScale(lambda x: jnp.outer(x, x), dim=3),
        ls.StateScale,
        np.outer(AT, AT),
    ),
    "state, tall": (
        lambda: ls.StateScale(lambda x: x[:, None], dim=3, noise_dim=1),
        ls.StateScale,
        AT[:, None],
    ),
}


def made(case):
    value = CASES[case][0]
    return value() if callable(value) else value


def final_classes(cls):
    below = [c for c in cls.__subclasses__() if c.__module__.startswith("levysde.")]
    return {name for c in below for name in final_classes(c)} or {cls.__name__}


def test_every_scale_is_here():
    assert final_classes(Scale) == {cls.__name__ for _, cls, _ in CASES.values()}


@pytest.mark.parametrize("case", CASES)
def test_scale_is_its_matrix(case, dtype):
    _, cls, matrix = CASES[case]
    scale, x = as_scale(made(case), 3), jnp.asarray(AT)
    assert type(scale) is cls
    assert scale.noise_dim(3) == matrix.shape[1]
    for y in np.random.default_rng(0).normal(size=(5, matrix.shape[1])):
        scaled = scale.apply(jnp.asarray(y), x)
        assert scaled.dtype == dtype
        np.testing.assert_allclose(
            scaled, matrix @ y, rtol=1e-12 if dtype == jnp.float64 else 2e-6, atol=1e-6
        )
    assert is_lane_invariant(scale.apply, jnp.asarray(y), x)


def test_a_scale_passes_through():
    scale = DiagonalScale(jnp.ones(2))
    assert as_scale(scale, 2) is scale


class Linear(eqx.Module):
    """A function of the position whose number is an array leaf."""

    slope: jax.Array

    def __call__(self, x):
        return 1 + self.slope * x


def test_new_numbers_compile_nothing():
    first, second = (ls.StateScale(Linear(jnp.asarray(c)), dim=2) for c in (0.5, 0.7))
    assert len(jax.tree.leaves(first)) == 1
    assert jax.tree.structure(first) == jax.tree.structure(second)
    low = [ls.LowRankScale(c * TALL) for c in (1.0, 2.0)]
    assert jax.tree.structure(low[0]) == jax.tree.structure(low[1])


# the covariance of the noise

SHAPE = np.array([[2.0, 0.5, 0.1], [0.5, 1.0, -0.3], [0.1, -0.3, 0.4]])
VARIANCES = {
    "Brownian": (lambda: ls.Brownian(), 1.0),
    "stable at 2": (lambda: ls.StableComponents(alpha=2.0), 2.0),
    "isotropic at 2": (lambda: ls.StableIsotropic(alpha=2.0), 2.0),
    "stable below 2": (lambda: ls.StableComponents(alpha=1.5), 2.0),
    "isotropic below 2": (lambda: ls.StableIsotropic(alpha=0.7), 2.0),
    "skewed": (lambda: ls.SkewedComponents(alpha=1.5, skewness=0.5), 2.0),
    "tempered": (lambda: ls.TemperedComponents(alpha=1.5, length=2.0), 1.5 * 2**0.5),
    "Student": (lambda: ls.StudentT(df=4.0, dt=0.1), 2.0),
    "mixture": (lambda: ls.GaussianMixture(weights=[0.9, 0.1], scales=[1.0, 10.0], dt=0.1), 10.9),
    "Poisson": (
        lambda: ls.CompoundPoisson(intensity=2.0, jump=ls.GaussianJump(std=3.0, dim=3)),
        18.0,
    ),
    "sum": (lambda: ls.DriverSum((ls.Brownian(), 3.0), (ls.StableComponents(alpha=2.0), 0.5)), 9.5),
    "stable sum": (
        lambda: ls.DriverSum(
            (ls.StableIsotropic(alpha=1.5), 1.0), (ls.StableIsotropic(alpha=1.5), 0.5)
        ),
        2 * (1 + 0.5**1.5) ** (2 / 1.5),
    ),
}


@pytest.mark.parametrize("name", VARIANCES)
def test_unit_variance(name):
    make, expected = VARIANCES[name]
    assert unit_variance(make(), 3) == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize(
    "name", ["Brownian", "stable at 2", "isotropic at 2", "stable below 2", "tempered"]
)
def test_covariance_scale_has_its_covariance(name, float64):
    make, variance = VARIANCES[name]
    root = ls.covariance_scale(SHAPE, make())
    assert type(root) is DenseScale
    np.testing.assert_allclose(root.matrix, root.matrix.T, atol=1e-14)
    np.testing.assert_allclose(variance * root.matrix @ root.matrix.T, SHAPE, rtol=1e-6)
    diagonal = ls.covariance_scale(np.diag(SHAPE), make())
    np.testing.assert_allclose(variance * diagonal.factors**2, np.diag(SHAPE), rtol=1e-6)
    np.testing.assert_allclose(
        variance * ls.covariance_scale(0.3, make()).noise_factor ** 2, 0.3, rtol=1e-6
    )


@pytest.mark.parametrize("name", ["Brownian", "stable at 2", "mixture"])
def test_one_step_has_the_covariance_of_an_optimiser_step(name):
    """From the minimum, with `dt = eta`: the noise of an SGD step, `eta` times a minibatch's, of
    covariance C."""
    eta, driver, n = 0.1, VARIANCES[name][0](), 400_000
    well = ls.Quadratic(hessian=np.eye(3))
    sgd = ls.SGD(well, driver, learning_rate=eta, scale=ls.covariance_scale(SHAPE, driver))
    kernel = ls.EulerMaruyama(sgd, dt=eta)
    words = jax.random.bits(jax.random.key(0), (kernel.words_per_step, n), jnp.uint32)
    step = jax.jit(jax.vmap(lambda w: kernel.step(w, jnp.zeros(3)), in_axes=-1, out_axes=-1))
    x = np.asarray(step(words), float) / eta
    for i, j, error in ((0, 0, 0.05), (1, 1, 0.05), (0, 1, 0.1), (1, 2, 0.2)):
        assert_mean(x[i] * x[j], SHAPE[i, j], error, f"{name}: C[{i}, {j}]")


def test_hessian_aligned(float64):
    well = ls.DoubleWell(
        barrier=0.5, distance=2.0, stiffness=4.0, dim=2
    )  # curvatures 8 b/w^2 = 1, and -4 b/w^2 at the saddle
    scale = ls.hessian_aligned(well, ls.StableComponents(alpha=1.5), batch_size=8)
    np.testing.assert_allclose(
        scale.matrix, np.diag(np.sqrt(np.array([1.0, 4.0]) / 8 / 2)), atol=1e-12
    )
    there = ls.hessian_aligned(well, ls.Brownian(), batch_size=8, x=[4.0, 0.0])
    np.testing.assert_allclose(there.matrix, np.diag(np.sqrt(np.array([5.5, 4.0]) / 8)), atol=1e-12)
    top = ls.hessian_aligned(well, ls.Brownian(), batch_size=2, x=[0.0, 0.0], negative="absolute")
    np.testing.assert_allclose(top.matrix, np.diag(np.sqrt(np.array([0.5, 4.0]) / 2)), atol=1e-12)
    with pytest.raises(
        ValueError,
        match=r"Hessian has a negative eigenvalue, -0\.5\. "
        r".*negative=\"absolute\"",
    ):
        ls.hessian_aligned(well, ls.Brownian(), batch_size=2, x=[0.0, 0.0])


GRADIENTS = np.random.default_rng(3).normal(size=(5, 3)) * [1.0, 2.0, 0.3] + [5.0, 0.0, 1.0]


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_minibatch_scale_by_all_batches(batch, replacement, float64):
    """Against the covariance over every batch there is."""
    draws = (
        itertools.product(range(5), repeat=batch)
        if replacement
        else itertools.permutations(range(5), batch)
    )
    means = np.array([GRADIENTS[list(draw)].mean(0) for draw in draws])
    expected = np.cov(means.T, bias=True)
    for driver, variance in ((ls.Brownian(), 1), (ls.StableIsotropic(alpha=1.5), 2)):
        scale = ls.minibatch_scale(GRADIENTS, driver, batch_size=batch, replacement=replacement)
        assert scale.low_rank_factor.shape == (3, 3)
        np.testing.assert_allclose(
            variance * scale.low_rank_factor @ scale.low_rank_factor.T,
            expected,
            rtol=1e-6,
            atol=1e-12,
        )
        assert scale.trace_share == 1


def test_minibatch_scale_of_low_rank(float64):
    few = np.random.default_rng(0).normal(size=(4, 10))
    driver = ls.Brownian()
    full = ls.minibatch_scale(few, driver, batch_size=2)
    assert full.low_rank_factor.shape == (10, 3)  # n - 1
    np.testing.assert_allclose(
        full.low_rank_factor @ full.low_rank_factor.T, np.cov(few.T, bias=True) / 2, atol=1e-7
    )
    for rank in (1, 2):
        cut = ls.minibatch_scale(few, driver, batch_size=2, rank=rank)
        np.testing.assert_array_equal(cut.low_rank_factor, full.low_rank_factor[:, :rank])
        expected = np.sort(np.linalg.eigvalsh(np.cov(few.T)))[::-1]
        np.testing.assert_allclose(
            cut.trace_share, expected[:rank].sum() / expected.sum(), rtol=1e-6
        )
    assert ls.minibatch_scale(
        [[0.1, 1.0], [0.1, 2.0], [0.1, 4.0]], driver, batch_size=1
    ).low_rank_factor.shape == (2, 1)


def test_trace_matched():
    assert ls.trace_matched(0.3, 4).noise_factor == pytest.approx(0.3)
    assert ls.trace_matched([3.0, 4.0], 2).noise_factor == pytest.approx(np.sqrt(12.5))
    assert ls.trace_matched(MATRIX, 3).noise_factor == pytest.approx(np.sqrt((MATRIX**2).sum() / 3))
    assert ls.trace_matched(ls.LowRankScale(TALL), 3).noise_factor == pytest.approx(
        np.sqrt((TALL**2).sum() / 3)
    )
    scale = ls.trace_matched(made("state, factors"), 3, x=AT)
    assert scale.noise_factor == pytest.approx(np.sqrt(np.mean((1 + AT) ** 2)))
    assert type(scale) is ScalarScale


# noise of fewer coordinates than the position, through the whole engine

WELL = ls.Quadratic(hessian=np.ones(3))
BALL = ls.Ball(radius=1.0, center=np.zeros(3))


def test_isotropic_noise_of_low_rank_is_that_of_the_symmetric_root():
    """`|S'k|^a` of the two scales: the law of `S L` follows from `S S'`."""
    driver, low = ls.StableIsotropic(alpha=1.5), ls.LowRankScale(TALL)
    root = ls.covariance_scale(2 * TALL @ TALL.T, driver)
    for k in np.random.default_rng(0).normal(size=(5, 3)):
        exponents = [
            driver.exponent(jnp.asarray(np.asarray(s).T @ k))
            for s in (low.low_rank_factor, root.matrix)
        ]
        assert exponents[0] == pytest.approx(float(exponents[1]), rel=1e-4)
    laws = [
        escape_law(ls.SGD(WELL, driver, epsilon=0.05, scale=scale), BALL, check=False)
        for scale in (low, root)
    ]
    assert len(laws[0].ray_share) != 0
    assert_close(
        laws[1].rate, laws[1].rate_error, laws[0].rate, 0.02, "symmetric root against the factor"
    )
    assert laws[0].rate_error < 1e-3 * laws[0].rate


def test_low_rank_law_of_components():
    """Jumps along the columns, each as often as any: `(C_a/a) sum_j 2 |S e_j|^a`."""
    sgd = ls.SGD(WELL, ls.StableComponents(alpha=1.5), epsilon=0.03, scale=ls.LowRankScale(TALL))
    assert sgd.noise_dim == 2
    law = escape_law(sgd, BALL, check=False)
    constant = ls.noise.levy_constant(1.5) / 1.5
    expected = 2 * constant * 0.03**1.5 * np.sum(np.linalg.norm(TALL, axis=0) ** 1.5)
    assert law.rate == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_low_rank_run():
    """The engine with 2 noise coordinates in 3 dimensions, against 3 through the symmetric root:
    one law."""
    driver, low = ls.StableIsotropic(alpha=1.5), ls.LowRankScale(TALL)
    root = ls.covariance_scale(2 * TALL @ TALL.T, driver)
    means, n = [], 8000
    for scale in (low, root):
        sgd = ls.SGD(WELL, driver, epsilon=0.2, scale=scale)
        run = ls.simulate_escape(ls.EulerMaruyama(sgd, dt=0.05), BALL, jnp.zeros(3), num=n, seed=0)
        assert run.exited.all()
        means.append((run.time.mean(), run.time.std() / np.sqrt(n)))
        far = np.linalg.norm(run.first_outside, axis=1)
        across = run.first_outside @ np.cross(*TALL.T) / np.linalg.norm(np.cross(*TALL.T))
        assert np.all(np.abs(across) <= 1e-3 * far)  # the noise has rank 2
    (value, error), (other, its_error) = means
    assert_close(value, np.hypot(error, its_error), other, 0.1, "mean escape time")


def test_a_basin_that_low_rank_noise_does_not_leave():
    slab = ls.Box(lower=np.array([-1.0, -np.inf, -np.inf]), upper=np.array([1.0, np.inf, np.inf]))
    column = ls.LowRankScale([[0.0], [1.0], [0.0]])
    sgd = ls.SGD(WELL, ls.StableComponents(alpha=1.5), epsilon=0.1, scale=column)
    with pytest.raises(ValueError, match="infinite"):
        escape_law(sgd, slab, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["low-rank", "state, factors", "state, tall"])
def test_adam_takes_scales(case):
    scale, driver = made(case), ls.StableComponents(alpha=1.5)
    adam = ls.Adam(WELL, driver, epsilon=0.2, rates=(10.0, 1.0), scale=scale)
    y, x = jnp.array([0.5, -1.0, 2.0])[: adam.noise_dim], jnp.asarray(AT)
    moved = [adam.position(adam.step(adam.init(x), jnp.asarray(1e-3), s * y)) for s in (1.0, 0.0)]
    expected = 0.2 * CASES[case][2] @ np.asarray(y) / (np.sqrt(adam.init(x).v) + 1e-8)
    # v follows within the step
    np.testing.assert_allclose(moved[0] - moved[1], expected, rtol=1e-2, atol=1e-5)
    run = ls.simulate_escape(ls.EulerMaruyama(adam, dt=0.02), BALL, x, num=32, seed=0, max_time=2.0)
    assert np.isfinite(run.first_outside[run.exited]).all()


# bad input


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.ones(4), ValueError, r"shape \(4,\), which does not fit d = 3"),
        (np.ones((3, 4)), ValueError, r"shape \(3, 4\), which does not fit d = 3"),
        (np.ones((1, 1)), ValueError, r"does not fit d = 3"),
        (0.0, ValueError, "zero throughout"),
        (np.zeros((3, 3)), ValueError, "zero throughout"),
        ([1.0, np.nan, 1.0], ValueError, "must be finite"),
        (np.inf, ValueError, "must be finite"),
        ("big", TypeError, "must be a number or an array"),
        ([[1.0], [1.0, 2.0]], TypeError, "must be a number or an array"),
        (np.eye(3) * 1j, TypeError, "dtype is complex128"),
        (
            DiagonalScale(jnp.ones(4)),
            ValueError,
            "DiagonalScale does not fit d = 3|which does not fit d = 3",
        ),
        (DenseScale(jnp.ones((4, 3))), ValueError, "does not fit d = 3"),
        (ls.LowRankScale(np.ones((4, 2))), ValueError, "does not fit d = 3"),
        (
            ls.StateScale(lambda x: jnp.sum(x), dim=2),
            ValueError,
            "made for dim = 2, which does not fit d = 3",
        ),
    ],
)
def test_a_scale_that_does_not_fit_is_refused(value, error, message):
    with pytest.raises(error, match=message) as caught:
        as_scale(value, 3)
    assert "3 factors, or a 3 x 3 matrix" in str(caught.value)


B, S = ls.Brownian(), ls.StableComponents(alpha=1.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ls.LowRankScale(np.ones(3)), r"shape \(d, r\), not of shape \(3,\)"),
        (lambda: ls.LowRankScale(np.ones((3, 0))), "factor is empty"),
        (lambda: ls.LowRankScale(np.zeros((3, 2))), "factor is zero throughout"),
        (lambda: ls.LowRankScale([[np.nan]]), "low_rank_factor must be finite"),
        (lambda: ls.LowRankScale("F"), "low_rank_factor must be a number or an array"),
        (
            lambda: ls.LowRankScale(TALL, trace_share=1.5),
            r"trace_share must lie in \(0, 1\], not "
            r"1.5",
        ),
        (lambda: ls.StateScale(1.0, dim=2), "fn must be a function, not 1.0"),
        (lambda: ls.StateScale(lambda x: x, dim=0), "dim must be at least 1"),
        (
            lambda: ls.StateScale(lambda x: x[:1], dim=3),
            r"or a matrix of 3 rows, not float32 of "
            r"shape \(1,\)",
        ),
        (lambda: ls.StateScale(lambda x: x[None, :], dim=3), r"of shape \(1, 3\)"),
        (lambda: ls.StateScale(lambda x: 1j * x, dim=3), "must return a real number.*complex64"),
        (lambda: ls.StateScale(lambda x: x > 0, dim=3), "must return a real number.*bool"),
        (
            lambda: ls.StateScale(lambda x: x @ jnp.ones(2), dim=3),
            r"fn\(x\) fails for arguments of shape "
            r"\(3,\)",
        ),
        (
            lambda: ls.StateScale(lambda x: x, dim=3, noise_dim=2),
            r"noise_dim = 2, but fn\(x\) has shape \(3,\)",
        ),
        (
            lambda: ls.StateScale(lambda x: x[:, None], dim=3, noise_dim=1.0),
            "noise_dim must be an integer",
        ),
        (
            lambda: ls.covariance_scale([[1.0, 2.0], [0.0, 1.0]], B),
            "symmetric, but differs from its transpose by 2",
        ),
        (lambda: ls.covariance_scale([[1.0, 2.0], [2.0, 1.0]], B), "negative eigenvalue, -1"),
        (lambda: ls.covariance_scale([1.0, -0.5], B), "must not be negative, but reaches -0.5"),
        (lambda: ls.covariance_scale(np.zeros((2, 2)), B), "zero throughout"),
        (lambda: ls.covariance_scale(np.ones((2, 3)), B), "square matrix, not of shape"),
        (lambda: ls.covariance_scale([np.inf], B), "covariance must be finite"),
        (lambda: ls.covariance_scale(1.0, "stable"), "driver must be a Driver"),
        (
            lambda: ls.covariance_scale(1.0, B, negative="clip"),
            'negative must be "refuse" or "absolute"',
        ),
        (
            lambda: ls.covariance_scale(1.0, ls.StudentT(df=2.0, dt=0.1)),
            "StudentT shows no finite variance",
        ),
        (
            lambda: ls.covariance_scale(1.0, ls.DriverSum((B, 1.0), (S, 0.1))),
            "DriverSum shows no finite variance",
        ),
        (
            lambda: jax.jit(lambda c: ls.covariance_scale(c, B).noise_factor)(1.0),
            "covariance is traced by JAX",
        ),
        (
            lambda: jax.jit(lambda a: unit_variance(ls.StableIsotropic(alpha=a)))(1.5),
            "driver is traced",
        ),
        (lambda: jax.jit(lambda a: a * unit_variance(B))(1.5), "driver is traced"),
        (lambda: unit_variance(B, 0), "dim must be at least 1"),
        (lambda: ls.hessian_aligned(3, B, batch_size=8), "landscape must be a Landscape, not 3"),
        (lambda: ls.hessian_aligned(WELL, B, batch_size=0), "batch_size must be at least 1"),
        (lambda: ls.hessian_aligned(WELL, B, batch_size=2.0), "batch_size must be an integer"),
        (
            lambda: ls.hessian_aligned(WELL, B, batch_size=8, x=np.ones(2)),
            r"x must have shape \(3,\)",
        ),
        (
            lambda: ls.hessian_aligned(ls.Quadratic(hessian=np.zeros(2)), B, batch_size=8),
            "Hessian is zero throughout",
        ),
        (
            lambda: ls.minibatch_scale(GRADIENTS, B, batch_size=5, replacement=False),
            "all of them has no noise",
        ),
        (
            lambda: ls.minibatch_scale(GRADIENTS, B, batch_size=6, replacement=False),
            "larger than the data",
        ),
        (lambda: ls.minibatch_scale(GRADIENTS, B, batch_size=0), "batch_size must be at least 1"),
        (
            lambda: ls.minibatch_scale(GRADIENTS, B, batch_size=2, replacement=1),
            "replacement must be True or False",
        ),
        (
            lambda: ls.minibatch_scale(GRADIENTS, B, batch_size=2, rank=4),
            "rank must be from 1 to 3, not 4",
        ),
        (
            lambda: ls.minibatch_scale(GRADIENTS, B, batch_size=2, rank=0),
            "rank must be from 1 to 3, not 0",
        ),
        (lambda: ls.minibatch_scale(GRADIENTS[:1], B, batch_size=1), "with n at least 2"),
        (lambda: ls.minibatch_scale(GRADIENTS[0], B, batch_size=1), r"shape \(n, d\)"),
        (
            lambda: ls.minibatch_scale(0.1 * np.ones((7, 3)), B, batch_size=1),
            "gradients do not vary",
        ),
        (
            lambda: ls.minibatch_scale([[np.nan], [1.0]], B, batch_size=1),
            "gradients must be finite",
        ),
        (
            lambda: ls.trace_matched(made("state, factors"), 3),
            "may depend on the position: say where",
        ),
        (lambda: ls.trace_matched(made("state, factors"), 3, x=-np.ones(3)), "trace 0.0"),
        (lambda: ls.trace_matched(1.0, 3, x=np.ones(2)), r"x must have shape \(3,\)"),
        (lambda: ls.trace_matched(np.ones(2), 3), "does not fit d = 3"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
