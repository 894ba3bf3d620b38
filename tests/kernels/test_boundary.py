"""Exits without discretisation bias: faces of domains, shifted boundaries, Brownian bridges,
jumps at their own times."""

from math import pi

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, linalg
from statistical import assert_close, assert_mean

import levysde as ls
from levysde.errors import AccuracyWarning
from levysde.interfaces import is_lane_invariant
from levysde.kernels.bridge import _first_passage, crossing
from levysde.noise import levy_constant, small_jump_shift, small_jump_variance
from levysde.noise.boundary import _replaced
from levysde.theory import (
    boundary_shift,
    brownian_mean_exit,
    first_passage,
    getoor_mean_exit,
    ryznar_mean_exit,
)

WELL = ls.Quadratic(hessian=jnp.array([[2.0, 0.5], [0.5, 1.0]]))
DOMAINS = {
    "Ball": ls.Ball(radius=1.0, center=jnp.array([0.2, -0.1])),
    "Box": ls.Box(lower=jnp.array([-1.0, -0.5]), upper=jnp.array([0.7, jnp.inf])),
    "Ellipsoid": ls.Ellipsoid(
        center=jnp.array([0.1, 0.2]), matrix=jnp.array([[2.0, 0.5], [0.5, 1.0]])
    ),
    "HalfSpaces": ls.HalfSpaces(
        normals=jnp.array([[3.0, 4.0], [-1.0, 0.0]]), offsets=jnp.array([5.0, 0.5])
    ),
    "Intersection": ls.Intersection(
        ls.Ball(radius=1.0, center=jnp.zeros(2)),
        ls.half_space(normal=jnp.array([1.0, 0.0]), offset=0.3),
    ),
    "Sublevel": ls.Sublevel(WELL, height=0.4),
}


def free(dim, driver=None, epsilon=1.0):
    with pytest.warns(AccuracyWarning, match="the loss is flat"):
        well = ls.from_function(lambda x: 0 * jnp.sum(x), dim=dim, minimum=jnp.zeros(dim))
    return (
        ls.Langevin(well, diffusion=0.5)
        if driver is None
        else ls.SGD(well, driver, epsilon=epsilon)
    )


def unit_ball(dim):
    return ls.Ball(radius=1.0, center=jnp.zeros(dim))


@pytest.mark.slow_cases("Sublevel")
@pytest.mark.parametrize("name", DOMAINS)
def test_faces(name):
    """From points near the boundary, on both sides, the nearest face is where the ray along its
    normal crosses."""
    domain = DOMAINS[name]
    rng = np.random.default_rng(0)
    for v in jnp.asarray(rng.normal(size=(12, 2)), dtype=float):
        r = jnp.minimum(domain.ray_distance(jnp.zeros(2), v), 50.0)
        for share in (0.97, 1.03):
            x = share * r * v
            distance, normal = domain.faces(x)
            np.testing.assert_allclose(jnp.sum(normal**2, 1), 1, rtol=1e-5)
            i = int(jnp.argmin(distance))
            assert (distance[i] > 0) == bool(domain.contains(x))
            if abs(distance[i]) > 0.1:  # the ray never came near
                continue
            for factor, inside in ((0.98, True), (1.02, False)):
                step = distance[i] * (factor if distance[i] > 0 else 2 - factor)
                assert bool(domain.contains(x + step * normal[i])) == inside
    assert is_lane_invariant(domain.faces, jnp.zeros(2))


def test_faces_are_refused_by_name():
    for domain in (ls.Predicate(lambda x: x[0] < 1, dim=1), ls.Complement(unit_ball(1))):
        with pytest.raises(TypeError, match="Box, Ellipsoid"):
            ls.Bridged(ls.EulerMaruyama(free(1), dt=0.1), domain)


@pytest.mark.parametrize("alpha", [1.2, 1.5, 1.8, 2.0])
def test_the_skeleton_shift_is_the_first_term_of_the_factorisation(alpha):
    """`rho_a` in closed form against the integral over `(1 - exp(-k^a)) / k^a`."""

    def over(k):
        return -np.log(-np.expm1(-(k**alpha)) / k**alpha) / k**2

    found = (
        integrate.quad(over, 0, 3, limit=500)[0] + integrate.quad(over, 3, np.inf, limit=500)[0]
    ) / pi
    assert boundary_shift(alpha) == pytest.approx(found, rel=1e-6)


def skeleton_mean(alpha: float, dt: float, radius: float) -> float:
    """Mean time until a stable walk of steps dt from 0 is outside (-radius, radius), by the
    equation of its steps: exact but for the grid."""
    cells = 800
    width = 2 * radius / cells
    spacing = (40 / dt) ** (1 / alpha) / 20_000
    k = (np.arange(20_000) + 0.5) * spacing
    distribution = np.sin(np.outer(width * (np.arange(cells + 1) - 0.5), k)) @ (
        np.exp(-dt * k**alpha) / k * spacing / pi
    )
    column = -np.diff(distribution)
    column[0] += 1
    return float(linalg.solve_toeplitz(column, np.full(cells, dt))[cells // 2])


@pytest.mark.slow
def test_the_shift_raises_the_order_from_one_over_alpha_to_one():
    """Without simulation: the exact mean of the walk against Getoor's, the radius as it is and
    shifted, at three steps."""
    alpha, steps = 1.5, np.array([0.08, 0.04, 0.02])
    exact = getoor_mean_exit(alpha=alpha, dim=1)
    plain = [skeleton_mean(alpha, dt, 1.0) / exact - 1 for dt in steps]
    shifted = [
        skeleton_mean(alpha, dt, 1 - boundary_shift(alpha) * dt ** (1 / alpha)) / exact - 1
        for dt in steps
    ]
    np.testing.assert_allclose(plain[1:], np.array([0.86615, 0.82314]) / exact - 1, atol=3e-5)
    assert np.polyfit(np.log(steps), np.log(plain), 1)[0] == pytest.approx(1 / alpha, abs=0.04)
    assert np.polyfit(np.log(steps), np.log(shifted), 1)[0] == pytest.approx(1, abs=0.1)
    assert (np.abs(shifted) < 0.025 * np.array(plain)).all()


@pytest.mark.parametrize("alpha", [0.5, pytest.param(1.0, marks=pytest.mark.slow), 1.5])
@pytest.mark.slow_cases("0.5", "1.5")
def test_small_jumps_made_gaussian(alpha):
    """Variance and exponent against direct integrals of the Lévy density, on the line and in three
    dimensions."""
    line, space = ls.StableComponents(alpha), ls.StableIsotropic(alpha)
    density = levy_constant(alpha)
    variance = integrate.quad(lambda y: 2 * density * y ** (1 - alpha), 0, 1)[0]
    assert small_jump_variance(line, 7) == pytest.approx(variance, rel=1e-6)
    for k in (0.3, 4.0, 30.0, 200.0):

        def over(y, k=k):
            x = k * y
            exact = x**2 / 2 - 1 + np.cos(x) if x > 0.1 else x**4 / 24 * (1 - x**2 / 30)
            return 2 * density * exact * y ** (-1 - alpha)

        expected = integrate.quad(over, 0, 1, limit=1000)[0]
        assert _replaced(line, 1, np.array([k]))[0] == pytest.approx(expected, rel=1e-3)
        # in space, radius and height u of the direction: half the total measure on u in (-1, 1), du
        # / 2
        total = space.levy_rays(3, 2, 0).total() * alpha

        def shell(u, r, k=k, total=total):
            x = k * r * u
            return (
                total
                * r ** (-1 - alpha)
                * (x**2 / 2 - 1 + np.cos(x) if x > 0.1 else x**4 / 24 * (1 - x**2 / 30))
            )

        if k < 10 and alpha == 1.5:
            expected = integrate.dblquad(shell, 1e-9, 1, 0, 1, epsrel=1e-5)[0]
            assert _replaced(space, 3, np.array([k]))[0] == pytest.approx(expected, rel=1e-3)
    assert 0 < small_jump_shift(space, 3) < small_jump_shift(space, 1)
    assert small_jump_shift(space, 1) == pytest.approx(small_jump_shift(line, 5), rel=1e-9)


@pytest.mark.slow_cases("0.5-0.8")
@pytest.mark.parametrize(("a", "b"), [(0.5, 0.8), (1.0, -0.3), (0.2, 0.01), (2.0, 1.0)])
def test_first_passage_of_a_bridge(a, b):
    """The draw of tau against its density, integrated: mean and variance, with s = h = 1."""
    words = jnp.asarray(np.random.default_rng(1).integers(0, 2**32, (200_000, 3), dtype=np.uint32))
    share = np.asarray(
        jax.vmap(lambda w: _first_passage(jnp.float32(a), jnp.float32(b), jnp.float32(1.0), w))(
            words
        )
    )

    def density(t):
        return t**-1.5 * (1 - t) ** -0.5 * np.exp(-(a**2) / (2 * t) - b**2 / (2 * (1 - t)))

    moments = [integrate.quad(lambda t, n=n: t**n * density(t), 0, 1)[0] for n in range(3)]
    assert_mean(share, moments[1] / moments[0], 0.02)
    assert_mean(share**2, moments[2] / moments[0], 0.03)
    assert ((share > 0) & (share < 1)).all()


def test_crossing_probability():
    """Two faces: neither is crossed with the product of the two chances, and places are outside."""
    domain, dynamics = ls.Box(lower=-jnp.ones(2), upper=jnp.ones(2)), free(2)
    before, after = jnp.array([0.7, 0.0]), jnp.array([0.9, 0.8])
    words = jnp.asarray(np.random.default_rng(2).integers(0, 2**32, (100_000, 4), dtype=np.uint32))
    test = jax.jit(
        jax.vmap(lambda w: crossing(domain, dynamics, before, after, jnp.float32(0.1), 1.0, w))
    )
    found = test(words)
    stays = (1 - np.exp(-2 * 0.3 * 0.1 / 0.1)) * (1 - np.exp(-2 * 1.0 * 0.2 / 0.1))
    assert_mean(np.asarray(found.left, float), 1 - stays, 0.02)
    left = np.asarray(found.left)
    assert not np.asarray(jax.vmap(domain.contains)(found.place))[left].any()
    assert (np.abs(np.asarray(found.place))[left].max(1) < 1.1).all()


@pytest.mark.slow
def test_no_crossing_far_from_the_boundary():
    """The largest word rounds to a uniform of 1, and an open side is infinitely far: neither is a
    crossing."""
    domain, words = (
        ls.Box(lower=jnp.array([-jnp.inf]), upper=jnp.ones(1)),
        jnp.full(4, 2**32 - 1, jnp.uint32),
    )
    for word in (words, jnp.zeros(4, jnp.uint32)):
        found = crossing(
            domain, free(1), jnp.array([-9.0]), jnp.array([-8.0]), jnp.float32(0.1), 1.0, word
        )
        assert not bool(found.left)


@pytest.mark.parametrize("dim", [pytest.param(1, marks=pytest.mark.slow), 3])
@pytest.mark.slow_cases("3")
def test_brownian_exit_from_a_ball(dim):
    """At a step of a fiftieth of the mean the bridge is not late, where the skeleton is by 17%; the
    shift takes most of it."""
    ball, exact = unit_ball(dim), brownian_mean_exit(dim=dim)
    plain = ls.EulerMaruyama(free(dim), dt=exact / 50)
    run = ls.simulate_escape(ls.Bridged(plain, ball), ball, jnp.zeros(dim), num=60_000, seed=1)
    assert_mean(run.time, exact, 0.02)
    late = ls.simulate_escape(plain, ball, jnp.zeros(dim), num=20_000, seed=2)
    assert late.time.mean() > 1.1 * exact
    shifted = ls.simulate_escape(
        plain, ls.Shifted(ball, free(dim), dt=exact / 50), jnp.zeros(dim), num=50_000, seed=3
    )
    assert abs(shifted.time.mean() / exact - 1) < 0.02
    # the place of an exit is on the sphere
    size = np.linalg.norm(run.first_outside, axis=1)
    assert (size >= 1).all()
    assert np.median(size) < 1.001


def test_bridge_in_an_interval_with_drift():
    """Mean, second moment and side of an Ornstein-Uhlenbeck exit from off the middle."""
    exact = first_passage(lambda x: -x, 0.5, start=0.3, lower=-1.0, upper=0.8)
    well = ls.Langevin(ls.Quadratic(hessian=jnp.eye(1)), diffusion=0.5)
    box = ls.Box(lower=-jnp.ones(1), upper=jnp.array([0.8]))
    run = ls.simulate_escape(
        ls.Bridged(ls.EulerMaruyama(well, dt=0.005), box),
        box,
        jnp.array([0.3]),
        num=100_000,
        seed=4,
    )
    assert_mean(run.time, exact.mean, 0.02)
    assert_mean(run.time**2, exact.second_moment, 0.05)
    assert_mean((run.label == 2).astype(float), exact.upper_probability, 0.015)


@pytest.mark.slow
def test_weak_order_one_half_becomes_one():
    """Bias of the mean exit time from an Ornstein-Uhlenbeck well at three steps; with the exact
    flow there is next to none."""
    well, box = (
        ls.Langevin(ls.Quadratic(hessian=jnp.eye(1)), diffusion=0.5),
        ls.Box(lower=-jnp.ones(1), upper=jnp.ones(1)),
    )
    exact = first_passage(lambda x: -x, 0.5, start=0.0, lower=-1.0, upper=1.0).mean
    steps = np.array([0.1, 0.05, 0.025])

    def off(kernel, num):
        time = ls.simulate_escape(kernel, box, jnp.zeros(1), num=num, seed=6).time
        return time.mean() / exact - 1, time.std() / np.sqrt(num) / exact

    euler = [ls.EulerMaruyama(well, dt=dt) for dt in steps]
    late = np.array([off(kernel, 30_000)[0] for kernel in euler])
    early, error = np.array([off(ls.Bridged(kernel, box), 200_000) for kernel in euler]).T
    assert (early / error < -10).all()
    assert 0.35 < np.polyfit(np.log(steps), np.log(late), 1)[0] < 0.6
    assert 0.7 < np.polyfit(np.log(steps), np.log(-early), 1)[0] < 1.1
    found, error = off(ls.Bridged(ls.OrnsteinUhlenbeck(well, dt=0.1), box), 200_000)
    assert abs(found) < 5 * error < 0.011


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noise", "alpha", "dim"), [("line", 1.5, 1), ("isotropic", 1.2, 2), ("isotropic", 1.8, 2)]
)
def test_stable_exits_with_a_shifted_boundary(noise, alpha, dim):
    driver = ls.StableComponents(alpha) if noise == "line" else ls.StableIsotropic(alpha)
    dynamics, ball, exact = (
        free(dim, driver),
        unit_ball(dim),
        getoor_mean_exit(alpha=alpha, dim=dim),
    )
    plain = ls.EulerMaruyama(dynamics, dt=0.02)
    late = (
        ls.simulate_escape(plain, ball, jnp.zeros(dim), num=50_000, seed=7).time.mean() / exact - 1
    )
    shifted = ls.Shifted(ball, dynamics, dt=0.02)
    run = ls.simulate_escape(plain, shifted, jnp.zeros(dim), num=200_000, seed=8)
    assert late > 0.03
    assert abs(run.time.mean() / exact - 1) < 0.25 * late


JUMPS = [
    ("components", 1.5, 3),
    ("isotropic", 1.0, 3),
    ("components", 0.7, 2),
    ("isotropic", 1.8, 2),
]


def _stable(noise, alpha):
    return ls.StableComponents(alpha) if noise == "components" else ls.StableIsotropic(alpha)


def _jump_adapted(noise, alpha, dim, shift, num):
    """Exit times from the unit ball over their exact mean, with two fifths of the radius as
    cutoff."""
    exact = (ryznar_mean_exit if noise == "components" else getoor_mean_exit)(alpha=alpha, dim=dim)
    dynamics, ball = free(dim, _stable(noise, alpha)), unit_ball(dim)
    domain = ls.Shifted(ball, dynamics, cutoff=0.4) if shift else ball
    kernel = ls.JumpAdapted(dynamics, dt=0.05 * exact, cutoff=0.4, domain=domain)
    return ls.simulate_escape(kernel, domain, jnp.zeros(dim), num=num, seed=9).time / exact


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noise", "alpha", "dim"),
    JUMPS[:1] + [pytest.param(*case, marks=pytest.mark.slow) for case in JUMPS[1:]],
)
def test_jump_adapted_exits(noise, alpha, dim):
    time = _jump_adapted(noise, alpha, dim, shift=True, num=50_000)
    assert_mean(time, 1, 0.025)
    assert (time > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "alpha", "dim"), JUMPS)
def test_jump_adapted_exits_without_the_shift_are_early(noise, alpha, dim):
    """By `gamma_a` cutoffs; at least three tenths of that are asked for."""
    share = (
        -small_jump_shift(_stable(noise, alpha), dim)
        * 0.4
        * (1 if noise == "isotropic" or dim == 1 else dim ** (-1 / 2))
    )
    time = _jump_adapted(noise, alpha, dim, shift=False, num=30_000)
    assert time.mean() - 1 < 0.3 * alpha * share


@pytest.mark.slow
def test_jump_adapted_parts():
    """Sizes, directions and times of the large jumps, and the clock."""
    dynamics = free(2, ls.StableIsotropic(1.5), epsilon=0.5)
    kernel = ls.JumpAdapted(dynamics, dt=0.01, cutoff=0.2)
    rng = np.random.default_rng(11)
    words = jnp.asarray(rng.integers(0, 2**32, (200_000, 4), dtype=np.uint32))
    jumps = np.asarray(jax.vmap(lambda w: kernel._jump(w[0], w[1], w[2:], 2))(words))
    size = np.linalg.norm(jumps, axis=1)
    assert size.min() > 0.2 * (1 - 1e-5)
    for r in (0.3, 1.0, 5.0):
        assert_mean((size > r).astype(float), (0.2 / r) ** 1.5, 0.25)
    angle = np.arctan2(jumps[:, 1], jumps[:, 0])
    for n in (1, 2):
        assert_close(np.cos(n * angle).mean() + 1, np.sqrt(0.5 / len(angle)), 1, 0.01)
    assert float(kernel.rate) == pytest.approx(
        ls.StableIsotropic(1.5).levy_rays(2, 2, 0).total(0.2), rel=1e-6
    )

    def advance(state, w):
        new = kernel.step(w, state)
        return new, (
            new.whole,
            new.part,
            jnp.where(state.full == 0, state.rest, kernel.dt),
            state.full == 0,
        )

    words = jnp.asarray(rng.integers(0, 2**32, (100_000, kernel.words_per_step), dtype=np.uint32))
    state = kernel.init(jnp.zeros(2), words[0, :1])
    _, (whole, part, h, lands) = jax.jit(lambda s: jax.lax.scan(advance, s, words))(state)
    total = np.cumsum(np.asarray(h, np.float64))
    found = kernel.elapsed(state._replace(whole=whole, part=part), None)
    np.testing.assert_allclose(found, total, rtol=1e-6, atol=1e-8)
    assert_close(
        float(np.sum(lands)), float(np.sqrt(np.sum(lands))), float(kernel.rate) * total[-1], 0.06
    )
    assert kernel.steps_within(total[-1]) < 1.2 * len(total)
    # components: one coordinate at a time, each as often
    kernel = ls.JumpAdapted(free(3, ls.StableComponents(0.8)), dt=0.01, cutoff=0.2)
    jumps = np.asarray(jax.vmap(lambda w: kernel._jump(w[0], w[1], w[2:], 3))(words[:, :3]))
    assert (np.sum(jumps != 0, 1) == 1).all()
    for i in range(3):
        assert_mean((jumps[:, i] > 0).astype(float), 1 / 6, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bridge", "jump", "shift"])
def test_any_layout_gives_the_same_bits(kind):
    ball = unit_ball(2)
    dynamics = free(2) if kind == "bridge" else free(2, ls.StableComponents(1.5))
    domain = {"bridge": ball, "jump": ball}.get(kind) or ls.Shifted(ball, dynamics, dt=0.01)
    kernel = ls.EulerMaruyama(dynamics, dt=0.01)
    if kind == "bridge":
        kernel = ls.Bridged(kernel, ball)
    if kind == "jump":
        kernel = ls.JumpAdapted(dynamics, dt=0.05, cutoff=0.3, domain=ball)
    runs = [
        ls.simulate_escape(
            kernel,
            domain,
            jnp.zeros(2),
            num=300,
            seed=3,
            lanes=lanes,
            devices=devices,
            max_time=0.5,
        )
        for lanes, devices in ((16, 1), (128, 2))
    ]
    for name in ("time", "label", "last_inside", "first_outside", "steps", "status"):
        np.testing.assert_array_equal(getattr(runs[0], name), getattr(runs[1], name))
    assert runs[0].exited.any()
    assert is_lane_invariant(
        kernel.step, jnp.zeros(kernel.words_per_step, jnp.uint32), _state(kernel)
    )


def _state(kernel):
    return kernel.init(jnp.zeros(kernel.dim), jnp.zeros(kernel.words_per_init, jnp.uint32))


def test_shifted_labels():
    """A point between the shifted and the true boundary is outside, by the face that it is near."""
    box, dynamics = ls.Box(lower=-jnp.ones(2), upper=jnp.ones(2)), free(2)
    shifted = ls.Shifted(box, dynamics, dt=0.01)
    size = 0.5826 * 0.1
    for x, label in (
        ([1 - size / 2, 0.0], 2),
        ([0.0, -1 + size / 2], 3),
        ([0.0, 0.0], 0),
        ([0.0, 3.0], 4),
    ):
        assert int(shifted.label(jnp.array(x))) == label
        assert bool(shifted.contains(jnp.array(x))) == (label == 0)
    assert float(shifted.ray_distance(jnp.zeros(2), jnp.array([1.0, 0.0]))) == pytest.approx(
        1 - size, rel=1e-4
    )
    assert shifted.convex is False
    # with components noise the scale across a slanted face is that of its coordinates together
    half = ls.half_space(normal=jnp.array([1.0, 1.0]), offset=1.0)
    slanted = ls.Shifted(half, free(2, ls.StableComponents(1.5), epsilon=0.1), dt=0.01)
    scale = 0.1 * (2 * 0.5**0.75) ** (1 / 1.5)
    expected = 0.5**0.5 - boundary_shift(1.5) * scale * 0.01 ** (1 / 1.5)
    assert float(slanted.faces(jnp.zeros(2))[0][0]) == pytest.approx(expected, rel=1e-5)


def test_bad_input():
    ball, brownian, stable = unit_ball(2), free(2), free(2, ls.StableComponents(1.5))
    kernel = ls.EulerMaruyama(brownian, dt=0.01)
    with pytest.raises(TypeError, match="StableComponents has jumps"):
        ls.Bridged(ls.EulerMaruyama(stable, dt=0.01), ball)
    with pytest.raises(TypeError, match="stepper of an SDE"):
        ls.Bridged(ls.LinearRegressionSGD(2, 0.1, 4), ball)
    with pytest.raises(TypeError, match="stepper of an SDE"):
        ls.Bridged(ls.Bridged(kernel, ball), ball)
    with pytest.raises(TypeError, match="whose noise moves the position at once, not Momentum"):
        ls.Shifted(ball, ls.Momentum(brownian.landscape, ls.Brownian(), learning_rate=0.1), dt=0.1)
    with pytest.raises(ValueError, match="exactly one of dt and cutoff"):
        ls.Shifted(ball, stable, dt=0.1, cutoff=0.1)
    with pytest.raises(ValueError, match="alpha must lie in"):
        ls.Shifted(ball, free(2, ls.StableComponents(0.8)), dt=0.1)
    with pytest.raises(ValueError, match="nothing is left"):
        ls.Shifted(ball, stable, dt=4.0)
    with pytest.raises(ValueError, match="points of 2 dimensions"):
        ls.Shifted(ball, free(3, ls.StableComponents(1.5)), dt=0.1)
    with pytest.raises(TypeError, match="no constant is known"):
        ls.Shifted(ball, free(2, ls.TruncatedComponents(1.5, cutoff=2.0)), dt=0.1)
    with pytest.raises(TypeError, match="for Brownian motion type Bridged"):
        ls.JumpAdapted(free(2, ls.Brownian()), dt=0.1, cutoff=0.1)
    with pytest.raises(TypeError, match="the driver must be Stable"):
        ls.JumpAdapted(brownian, dt=0.1, cutoff=0.1)
    with pytest.raises(ValueError, match="cutoff must be positive"):
        ls.JumpAdapted(stable, dt=0.1, cutoff=-1)
    with pytest.raises(ValueError, match="alpha = 2"):
        ls.JumpAdapted(free(2, ls.StableComponents(2.0)), dt=0.1, cutoff=0.1)


def test_numbers_of_the_new_kernels_are_leaves():
    traces, flat = [], ls.Quadratic(hessian=jnp.zeros((2, 2)))

    @eqx.filter_jit
    def look(kernel, state):
        traces.append(1)
        return kernel.step(jnp.zeros(kernel.words_per_step, jnp.uint32), state)

    for alpha, cutoff in ((1.5, 0.3), (1.7, 0.2)):
        dynamics = ls.SGD(flat, ls.StableIsotropic(alpha), epsilon=1.0)
        kernel = ls.JumpAdapted(dynamics, dt=0.05, cutoff=cutoff, domain=unit_ball(2))
        look(kernel, _state(kernel))
    assert len(traces) == 1


class Seconds(ls.EulerMaruyama):
    """A stepper with a unit and directions of its own."""

    @property
    def unit(self):
        return "seconds"

    def noise_directions(self):
        return jnp.array([[3.0]])


def test_a_bridge_keeps_what_the_kernel_says_of_itself():
    dynamics = ls.SGD(ls.Quadratic(hessian=jnp.eye(1)), ls.Brownian(), epsilon=0.5)
    ball = ls.Ball(radius=1.0, center=jnp.zeros(1))
    kernel = ls.Bridged(Seconds(dynamics, 0.01), ball)
    assert kernel.unit == "seconds"
    np.testing.assert_array_equal(kernel.noise_directions(), [[3.0]])
