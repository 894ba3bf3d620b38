"""Theory against independent derivations: generators by quadrature, Lévy measures by integration
and Monte Carlo."""

from functools import cache
from math import gamma, pi, sin, sqrt

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate
from statistical import assert_close

import levysde as ls
from levysde.theory import (
    boundary_shift,
    brownian_mean_exit,
    escape_law,
    getoor_mean_exit,
    ryznar_mean_exit,
)

C = {a: gamma(1 + a) * sin(pi * a / 2) / pi for a in (0.8, 1.2, 1.5, 1.8)}


def isotropic_constant(alpha, dim):
    return (
        alpha
        * 2 ** (alpha - 1)
        * gamma((dim + alpha) / 2)
        / (pi ** (dim / 2) * gamma(1 - alpha / 2))
    )


def isotropic_tail(alpha, dim):
    """`nu(|y| >= 1)`: the density integrated over the sphere, then over the radius."""
    return isotropic_constant(alpha, dim) * 2 * pi ** (dim / 2) / gamma(dim / 2) / alpha


def well(diagonal=(1.0, 4.0)):
    return ls.Quadratic(hessian=jnp.array(diagonal))


def sgd(driver=ls.StableComponents, alpha=1.5, epsilon=0.1, diagonal=(1.0, 4.0), scale=None):
    return ls.SGD(well(diagonal), driver(alpha=alpha), epsilon=epsilon, scale=scale)


def ball(radius=1.0, dim=2):
    return ls.Ball(radius=radius, center=jnp.zeros(dim))


# exact mean exit times


@pytest.mark.parametrize("alpha", [0.8, 1.5, 1.8])
@pytest.mark.parametrize("dim", [1, 2, 10])
@pytest.mark.parametrize("law", ["isotropic", "components"])
def test_mean_exit_solves_its_equation(alpha, dim, law):
    """The generator at the centre, by quadrature over the Lévy measure, gives -1."""
    mean = getoor_mean_exit if law == "isotropic" else ryznar_mean_exit
    density = (
        isotropic_constant(alpha, dim) * 2 * pi ** (dim / 2) / gamma(dim / 2)
        if law == "isotropic"
        else 2 * dim * C[alpha]
    )
    radius, epsilon = 1.3, 0.7

    def u(r):
        return mean(alpha=alpha, dim=dim, radius=radius, epsilon=epsilon, start=r)

    small = 1e-3  # below it u(r) - u(0) is a parabola
    core = (u(small) - u(0.0)) / small**2 * small ** (2 - alpha) / (2 - alpha)
    near = integrate.quad(lambda r: (u(r) - u(0.0)) * r ** (-1 - alpha), small, radius, limit=200)[
        0
    ]
    far = -u(0.0) * radius**-alpha / alpha
    assert epsilon**alpha * density * (core + near + far) == pytest.approx(-1, rel=1e-5)


def test_mean_exit_limits():
    for alpha in (0.5, 1.0, 1.7, 2.0):
        kwargs = {"alpha": alpha, "dim": 1, "radius": 2.0, "epsilon": 0.3, "start": 0.4}
        assert getoor_mean_exit(**kwargs) == pytest.approx(ryznar_mean_exit(**kwargs), rel=1e-12)
    point = np.array([0.1, 0.2, -0.2])
    brownian = brownian_mean_exit(dim=3, radius=2.0, sigma=sqrt(2) * 0.3, start=point)
    assert brownian == pytest.approx((4 - 0.09) / (3 * 2 * 0.09), rel=1e-12)
    for mean in (getoor_mean_exit, ryznar_mean_exit):
        assert mean(alpha=2.0, dim=3, radius=2.0, epsilon=0.3, start=point) == pytest.approx(
            brownian, rel=1e-12
        )
    assert 0 < getoor_mean_exit(alpha=1.5, dim=1000) < 1  # no overflow of the Gamma function


def test_boundary_shift():
    for alpha, expected in {1.2: 1.2165, 1.5: 0.8300, 1.8: 0.8022, 2.0: 0.8239}.items():
        assert boundary_shift(alpha) == pytest.approx(expected, abs=6e-5)
    assert boundary_shift(2.0) == pytest.approx(0.582597 * sqrt(2), rel=1e-6)  # Gobet and Menozzi
    # exact mean exits of the Euler skeleton from (-1, 1), alpha = 1.5: moving the boundary leaves
    # the next order only
    for dt, discrete in {0.04: 0.86615, 0.02: 0.82314, 0.01: 0.79652, 0.005: 0.77993}.items():
        shifted = getoor_mean_exit(alpha=1.5, dim=1, radius=1 + boundary_shift(1.5) * dt ** (2 / 3))
        assert 0 < discrete - shifted < 0.02 * (discrete - getoor_mean_exit(alpha=1.5, dim=1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: getoor_mean_exit(alpha=2.5, dim=1), "alpha"),
        (lambda: getoor_mean_exit(alpha=1.5, dim=0), "dim"),
        (lambda: ryznar_mean_exit(alpha=1.5, dim=2, start=1.5), "outside the ball"),
        (lambda: ryznar_mean_exit(alpha=1.5, dim=2, start=[0.1, 0.2, 0.3]), "shape"),
        (lambda: brownian_mean_exit(dim=2, sigma=0.0), "sigma"),
        (lambda: boundary_shift(1.0), r"\(1, 2\]"),
    ],
)
def test_exact_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# the escape law: rates


@pytest.mark.parametrize("alpha", [0.8, 1.5, 1.8])
@pytest.mark.parametrize("dim", [1, 2, 10])
def test_components_in_a_quadratic_basin(alpha, dim):
    """`m(W) = (1/d) sum_i (M_ii / h)^(a/2)`, `M = A'HA`, for a dense Hessian and a dense scale."""
    rng = np.random.default_rng(dim)
    root, scale = rng.normal(size=(dim, dim)), rng.normal(size=(dim, dim))
    hessian = root @ root.T + 0.1 * np.eye(dim)
    landscape = ls.Quadratic(hessian=jnp.array(hessian))
    dynamics = ls.SGD(
        landscape, ls.StableComponents(alpha=alpha), epsilon=0.05, scale=jnp.array(scale)
    )
    law = escape_law(dynamics, ls.Sublevel(landscape, height=0.6), check=False)
    diagonal = np.diag(scale.T @ hessian @ scale)
    measure = np.mean((diagonal / 1.2) ** (alpha / 2))  # y'Hy / 2 = 0.6
    assert law.measure == pytest.approx(measure, rel=1e-4)
    assert law.rate == pytest.approx(0.05**alpha * 2 * dim * C[alpha] / alpha * measure, rel=1e-4)
    assert law.mean == 1 / law.rate
    assert law.rate_error == 0
    assert law.star_shaped
    np.testing.assert_allclose(
        law.ray_distance, np.sqrt(1.2 / np.tile(diagonal, 2)) / 0.05, rtol=1e-4
    )
    np.testing.assert_allclose(
        law.ray_share,
        np.tile(diagonal ** (alpha / 2), 2) / (2 * np.sum(diagonal ** (alpha / 2))),
        rtol=1e-3,
    )


@pytest.mark.parametrize("dim", [1, 2, 3, 10])
def test_isotropic_in_a_ball_and_a_half_space(dim):
    """In a centred ball nothing depends on direction; a half-space sees the one-dimensional
    projection, SaS(1)."""
    dynamics = sgd(ls.StableIsotropic, epsilon=0.2, diagonal=(1.0,) * dim)
    law = escape_law(dynamics, ball(0.7, dim), check=False)
    assert law.rate == pytest.approx((0.2 / 0.7) ** 1.5 * isotropic_tail(1.5, dim), rel=1e-4)
    assert law.measure == pytest.approx(0.7**-1.5, rel=1e-4)
    wall = ls.Box(lower=jnp.full(dim, -jnp.inf), upper=jnp.full(dim, jnp.inf).at[0].set(0.7))
    law = escape_law(dynamics, wall, check=False)
    expected = (0.2 / 0.7) ** 1.5 * C[1.5] / 1.5
    if dim < 3:
        assert law.rate == pytest.approx(expected, rel=1e-4)
    else:
        assert_close(law.rate, law.rate_error, expected, relative_error=0.05)


@pytest.mark.parametrize("dim", [3, 10])
def test_isotropic_against_counting_jumps(dim):
    """Jumps drawn from the Lévy measure itself (Pareto radius, uniform direction), counted where
    they leave."""
    diagonal = np.geomspace(0.3, 3.0, dim)
    landscape = well(diagonal)
    dynamics = ls.SGD(
        landscape, ls.StableIsotropic(alpha=1.2), epsilon=0.1, scale=jnp.linspace(0.5, 1.5, dim)
    )
    law = escape_law(dynamics, ls.Sublevel(landscape, height=0.5), check=False)
    rng = np.random.default_rng(0)
    num, smallest = (
        1_000_000,
        1.0 / np.sqrt((diagonal * np.linspace(0.5, 1.5, dim) ** 2).max()) / 0.1,
    )
    y = rng.normal(size=(num, dim))
    y *= (smallest * rng.uniform(size=num) ** (-1 / 1.2) / np.linalg.norm(y, axis=1))[:, None]
    leaves = np.sum(diagonal * (0.1 * np.linspace(0.5, 1.5, dim) * y) ** 2, 1) >= 1
    total = isotropic_tail(1.2, dim) * smallest**-1.2
    error = total * np.sqrt(leaves.mean() * (1 - leaves.mean()) / num)
    assert 0 < law.rate_error < 0.002 * law.rate
    assert_close(
        total * leaves.mean(), np.hypot(error, law.rate_error), law.rate, relative_error=0.02
    )


@pytest.mark.slow
def test_rate_error_is_the_error():
    """Over many seeds the rate scatters as its own standard error says (an anisotropic wall, where
    it is large)."""
    dynamics = sgd(ls.StableIsotropic, diagonal=(1.0,) * 3)
    wall = ls.Box(lower=jnp.full(3, -jnp.inf), upper=jnp.array([0.7, jnp.inf, jnp.inf]))
    laws = [escape_law(dynamics, wall, num_rays=512, seed=seed, check=False) for seed in range(60)]
    scatter = np.std([law.rate for law in laws], ddof=1)
    claimed = np.sqrt(np.mean([law.rate_error**2 for law in laws]))
    assert 0.6 < claimed / scatter < 1.6
    assert laws[0].rate == escape_law(dynamics, wall, num_rays=512, seed=0, check=False).rate


def test_adam_jumps_through_its_preconditioner():
    variance, scale = np.array([0.25, 4.0]), np.array([1.0, 3.0])
    dynamics = ls.Adam(
        well(),
        ls.StableComponents(alpha=1.5),
        epsilon=0.1,
        scale=jnp.array(scale),
        gradient_variance=jnp.array(variance),
    )
    law = escape_law(dynamics, ls.Box(lower=-jnp.ones(2), upper=jnp.array([2.0, 1.0])), check=False)
    size = scale / np.sqrt(variance)
    assert law.measure == pytest.approx(
        np.sum(size**1.5 * (1 + np.array([2.0, 1.0]) ** -1.5)) / 4, rel=1e-4
    )
    assert law.stiffness == pytest.approx(2.0, rel=1e-4)  # H / sqrt(v) = (2, 2)


def test_printed_normalization():
    """Printed over true is `1 / (d C_a)`: 3.34 times too large in d = 1, 30 times too small in d =
    100."""
    for dim, expected in {1: 3.34, 100: 1 / 30}.items():
        dynamics, basin = sgd(diagonal=(1.0,) * dim), ball(2.0, dim)
        true, printed = (
            escape_law(dynamics, basin, normalization=n, check=False) for n in ("true", "printed")
        )
        assert printed.rate / true.rate == pytest.approx(expected, rel=0.01)
        assert printed.measure == pytest.approx(true.measure)
        assert printed.rate == pytest.approx(2 / 1.5 * 0.1**1.5 * printed.measure, rel=1e-6)
        assert "printed" in repr(printed)
        assert "printed" not in repr(true)


# basins that are not star-shaped


def outside_mass(intervals, alpha):
    """The one-dimensional Lévy density of SaS(1), integrated over intervals of the half-line."""
    return sum(
        integrate.quad(lambda y: C[alpha] * y ** (-1 - alpha), low, high)[0]
        for low, high in intervals
    )


@pytest.mark.parametrize("alpha", [0.8, 1.5])
def test_two_wells_in_one_dimension(alpha):
    """The basin is (-1, 1) with (2, 3) and everything below -4: what lies between and beyond is
    outside."""

    def inside(x):
        return (jnp.abs(x[0]) < 1) | ((x[0] > 2) & (x[0] < 3)) | (x[0] < -4)

    domain = ls.Predicate(inside, dim=1)
    law = escape_law(sgd(alpha=alpha, diagonal=(1.0,)), domain, follow=False, check=False)
    right, left = outside_mass([(1, 2), (3, np.inf)], alpha), outside_mass([(1, 4)], alpha)
    assert not law.star_shaped
    assert law.rate == pytest.approx(0.1**alpha * (right + left), rel=1e-4)
    np.testing.assert_allclose(law.ray_share, np.array([right, left]) / (right + left), rtol=1e-4)
    np.testing.assert_allclose(law.ray_distance, 10.0, rtol=1e-4)
    assert "no" in repr(law)
    # the flow back from (2, 3) and from below -4 passes through the outside
    law = escape_law(sgd(alpha=alpha, diagonal=(1.0,)), domain, check=False)
    beyond = 2 * outside_mass([(1, np.inf)], alpha)
    assert law.rate == pytest.approx(0.1**alpha * beyond, rel=1e-4)
    assert law.flow_share == pytest.approx(1 - (right + left) / beyond, rel=1e-4)
    assert not law.star_shaped


@pytest.mark.slow
@pytest.mark.parametrize("hole", [False, True])
def test_island_and_hole_in_two_dimensions(hole):
    """A disc with an island beyond it, or with a hole in it: the density integrated over the small
    disc."""
    alpha, centre, small = 1.5, (0.9 if hole else 3.0), (0.3 if hole else 1.0)
    constant = isotropic_constant(alpha, 2)

    def inside(x):
        disc = (x[0] - centre) ** 2 + x[1] ** 2 < small**2
        return (jnp.sum(x**2) < 2.25) & ~disc if hole else (jnp.sum(x**2) < 2.25) | disc

    law = escape_law(
        sgd(ls.StableIsotropic, alpha=alpha, diagonal=(1.0, 1.0)),
        ls.Predicate(inside, dim=2),
        num_rays=32768,
        follow=False,
        check=False,
    )
    disc = integrate.dblquad(
        lambda t, r: (
            r
            * constant
            * ((centre + r * np.cos(t)) ** 2 + (r * np.sin(t)) ** 2) ** (-1 - alpha / 2)
        ),
        0,
        small,
        0,
        2 * pi,
    )[0]
    expected = 0.1**alpha * (1.5**-alpha * isotropic_tail(alpha, 2) + (disc if hole else -disc))
    assert not law.star_shaped
    assert law.rate == pytest.approx(expected, rel=2e-3)
    # the disc matters ten times the tolerance
    assert abs(disc / (1.5**-alpha * isotropic_tail(alpha, 2))) > 0.02


@pytest.mark.slow
def test_convex_and_searched_basins_agree():
    """The same ball by formula, as a sublevel set and as a predicate."""
    dynamics = sgd(ls.StableIsotropic, diagonal=(1.0, 1.0))
    shapes = [
        ball(0.8),
        ls.Sublevel(well((1.0, 1.0)), height=0.32),
        ls.Predicate(lambda x: jnp.sum(x**2) < 0.64, dim=2),
    ]
    laws = [escape_law(dynamics, shape, check=False) for shape in shapes]
    assert all(law.star_shaped for law in laws)
    np.testing.assert_allclose([law.rate for law in laws], laws[0].rate, rtol=1e-5)


# the escape law: its other numbers


def test_regime_and_stiffness():
    """Shares weighted by the curvature along each jump, in a basin that noise leaves along both
    axes alike."""
    law = escape_law(sgd(), ball(), check=False)
    assert law.regime == pytest.approx(law.rate * (0.5 / 1 + 0.5 / 4), rel=1e-5)
    assert law.stiffness == pytest.approx(4.0, rel=1e-6)
    # every jump along (1, 1)
    tilted = escape_law(sgd(scale=jnp.array([[1.0, 0.0], [1.0, 0.0]])), ball(), check=False)
    assert tilted.regime == pytest.approx(tilted.rate / 2.5, rel=1e-5)
    many = escape_law(sgd(diagonal=tuple(np.linspace(0.1, 7.0, 250))), ball(dim=250), check=False)
    assert many.stiffness == pytest.approx(7.0, rel=1e-4)
    flat = escape_law(sgd(diagonal=(0.0, 1.0)), ball(), check=False)
    assert flat.regime == np.inf


def bent(diagonal):
    """`sum_i diagonal_i x_i^2 / 2` as a network, whose point may be a saddle."""
    h = jnp.array(diagonal)
    return ls.from_network(
        lambda p, x, y: jnp.sum(h * p**2) / 2, np.zeros(len(diagonal)), np.ones(3), np.ones(3)
    )


@pytest.mark.slow
def test_an_attractor_that_is_no_minimum_is_told():
    assert escape_law(sgd(), ball(), check=False).warnings == ()
    many = tuple(np.linspace(0.1, 7.0, 249))
    assert escape_law(sgd(diagonal=many), ball(dim=249), check=False).warnings == ()
    for diagonal in ((0.0, 1.0), (-0.3, 1.0), (-0.3, *many)):
        noise = ls.StableComponents(alpha=1.5)
        law = escape_law(
            ls.SGD(bent(diagonal), noise, epsilon=0.1), ball(dim=len(diagonal)), check=False
        )
        assert law.slowest == pytest.approx(min(diagonal), abs=1e-4)
        assert "attractor is no minimum" in repr(law)
        assert "levysde.networks.train and refine" in " ".join(repr(law).split())
    one = jnp.array([[0.0, 0.0], [0.0, 1.0]])  # no jump goes where the flow leads away
    along = escape_law(
        ls.SGD(bent((-0.3, 1.0)), noise, epsilon=0.1, scale=one), ball(), check=False
    )
    assert along.regime < np.inf
    assert "eigenvalue -0.3" in along.warnings[0]


@pytest.mark.slow
def test_an_untrained_network_is_told():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=40)
    start = {"w": rng.normal(size=(3, 4)), "v": rng.normal(size=4)}
    net = ls.from_network(lambda p, a, b: (jnp.tanh(a @ p["w"]) @ p["v"] - b) ** 2, start, x, y)
    dynamics = ls.SGD(net, ls.StableComponents(alpha=1.5), epsilon=0.01)
    law = escape_law(dynamics, ls.Sublevel(net, height=0.05), check=False)
    assert law.slowest < 0
    assert "train and refine the network first" in law.warnings[0]


def test_time_and_noise_scaling():
    law = escape_law(sgd(), ball(), check=False)
    assert escape_law(sgd(epsilon=0.2), ball(), check=False).rate == pytest.approx(
        2**1.5 * law.rate, rel=1e-5
    )
    assert escape_law(sgd(), ball(0.5), check=False).measure == pytest.approx(
        2**1.5 * law.measure, rel=1e-5
    )
    assert law.survival(law.mean) == pytest.approx(np.exp(-1))
    np.testing.assert_allclose(law.survival(law.quantile([0.1, 0.5, 0.99])), [0.9, 0.5, 0.01])
    assert law.survival(-1.0) == 1
    assert law.one_step_chance(1e-3) == pytest.approx(1e-3 * law.rate, rel=1e-3)
    assert law.unit == "SDE time"
    assert len(law.assumptions) > 3
    for part in (
        f"{law.mean:.6g}",
        "rate over relaxation",
        "SGD with StableComponents",
        "1.5, 0.1",
    ):
        assert part in repr(law)


@cache
def stable_cdf_table(alpha):
    """`F(x) = 1/2 + (1/pi) int_0^inf sin(k x) exp(-k^a) / k dk` on a grid of x from 0 to 40."""
    nodes, weights = np.polynomial.legendre.leggauss(800)
    x, k = np.linspace(0, 40, 4001), 6.0 * (nodes + 1)
    return x, 0.5 + np.sin(np.outer(x, k)) @ (6.0 * weights * np.exp(-(k**alpha)) / k) / pi


def skeleton_mean_exit(dt, epsilon, alpha=1.5, cells=601):
    """Mean exit from (-1, 1), from 0, of the Euler scheme for `dX = -X dt + epsilon dL`: its
    transition matrix."""
    edges = np.linspace(-1, 1, cells + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    z = (edges[None, :] - (1 - dt) * middle[:, None]) / (epsilon * dt ** (1 / alpha))
    far = np.maximum(np.abs(z), 1) ** -alpha  # two terms of the tail's series
    tail = far * C[alpha] / alpha - far**2 * gamma(2 * alpha) * sin(pi * alpha) / (2 * pi)
    upper = np.where(np.abs(z) < 40, np.interp(np.abs(z), *stable_cdf_table(alpha)), 1 - tail)
    move = np.diff(np.where(z >= 0, upper, 1 - upper), axis=1)
    return np.linalg.solve(np.eye(cells) - move, np.full(cells, dt))[cells // 2]


def test_boundary_shift_holds_with_drift():
    """The Euler scheme leaves a basin smaller by the shift as late as the process leaves the basin,
    to order dt."""
    # the exact mean at epsilon = 0.5, alpha = 1.5
    exact, steps = 3.82717, np.array([0.02, 0.01, 0.005])
    shift = boundary_shift(1.5) * 0.5 * steps ** (2 / 3)
    late = np.array([skeleton_mean_exit(dt, 0.5) / exact - 1 for dt in steps])
    left = np.array(
        [
            skeleton_mean_exit(dt, 0.5 / (1 - s)) / exact - 1
            for dt, s in zip(steps, shift, strict=True)
        ]
    )
    np.testing.assert_allclose(late[:-1] / late[1:], 2 ** (2 / 3), rtol=0.06)
    np.testing.assert_allclose(left[:-1] / left[1:], 2, rtol=0.1)
    assert abs(left[-1]) < 0.2 * late[-1]


def test_skeleton_bias_bounds_the_bias():
    """Against the exact mean at epsilon = 0.2, alpha = 1.5: the leading order, approached from
    below as dt falls."""
    law = escape_law(sgd(epsilon=0.2, diagonal=(1.0,)), ball(dim=1), check=False)
    steps = np.array([0.08, 0.04, 0.02, 0.01])
    late = np.array([skeleton_mean_exit(dt, 0.2) / 23.8551 - 1 for dt in steps])
    share = late / np.array([law.skeleton_bias(dt) for dt in steps])
    assert (np.diff(share) > 0.04).all()
    assert 0.6 < share[0] < share[-1] < 1
    assert np.isnan(escape_law(sgd(alpha=1.0), ball(), check=False).skeleton_bias(0.01))


# bad input


@pytest.mark.parametrize(
    "dynamics",
    [ls.Langevin(well(), diffusion=0.1), sgd(alpha=2.0), sgd(ls.StableIsotropic, alpha=2.0)],
)
def test_no_jumps_no_law(dynamics):
    with pytest.raises(ValueError, match=r"no jumps.*no stable escape law"):
        escape_law(dynamics, ball(), check=False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: escape_law(sgd(), ls.Ball(radius=1.0, center=jnp.full(2, 3.0)), check=False),
            "lies outside the domain",
        ),
        (
            lambda: escape_law(
                sgd(scale=jnp.array([0.0, 1.0])),
                ls.Box(lower=jnp.array([-1.0, -jnp.inf]), upper=jnp.array([1.0, jnp.inf])),
                check=False,
            ),
            "mean escape time is infinite",
        ),
        (
            lambda: escape_law(sgd(), ls.Predicate(lambda x: x[0] < jnp.inf, dim=2), check=False),
            "mean escape time is infinite",
        ),
        (lambda: escape_law(sgd(), ball(), normalization="paper", check=False), "normalization"),
        (lambda: escape_law(sgd(), ball(), num_rays=10, check=False), "num_rays"),
        (lambda: escape_law(sgd(), ball(), seed=-1, check=False), "seed"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_wrong_kinds():
    with pytest.raises(TypeError, match="a dynamics and a domain"):
        escape_law(ball(), sgd(), check=False)


def test_with_epsilon_is_the_law_at_that_amplitude():
    well = ls.Quadratic(hessian=jnp.array([[2.0, 0.5], [0.5, 1.0]]))
    for driver in (ls.StableComponents(alpha=1.3), ls.StableIsotropic(alpha=1.7)):
        basin = ls.Sublevel(well, height=0.7)
        first = escape_law(ls.SGD(well, driver, epsilon=0.4), basin, check=False).with_epsilon(0.1)
        second = escape_law(ls.SGD(well, driver, epsilon=0.1), basin, check=False)
        np.testing.assert_allclose(
            first.rate_error, second.rate_error, rtol=1e-3, atol=1e-6 * second.rate
        )
        for name in (
            "rate",
            "measure",
            "regime",
            "epsilon",
            "stiffness",
            "ray_distance",
            "ray_share",
        ):
            np.testing.assert_allclose(
                getattr(first, name), getattr(second, name), rtol=1e-3, err_msg=name
            )
        np.testing.assert_allclose(first.skeleton_bias(1e-3), second.skeleton_bias(1e-3), rtol=1e-3)


def test_a_domain_of_another_dimension_is_refused():
    well = ls.Quadratic(hessian=jnp.eye(2))
    with pytest.raises(ValueError, match="takes points of 1 dimensions, the dynamics move in 2"):
        escape_law(
            ls.SGD(well, ls.StableComponents(alpha=1.3), epsilon=0.4),
            ls.Ball(radius=1.0, center=jnp.zeros(1)),
            check=False,
        )
