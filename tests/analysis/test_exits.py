"""Where trajectories leave, by which jump, and where they land."""

import dataclasses
import re

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binomtest
from statistical import assert_close, assert_mean

import levysde as ls
from levysde.analysis import Landings, exit_directions, landing_sharpness, last_jumps
from levysde.analysis.exits import bounded_mean
from levysde.random import split_uint64, step_words, trajectory_key

pytestmark = pytest.mark.slow

# eigenvalues 1 and 2, along (1, -1) and (1, 1)
WELL = ls.Quadratic(hessian=jnp.array([[1.5, 0.5], [0.5, 1.5]]))


def ball(radius=1.0, dim=2):
    return ls.Ball(radius=radius, center=jnp.zeros(dim))


def stepper(epsilon=0.05, driver=None, landscape=WELL, dt=0.02, scale=None):
    driver = driver or ls.StableComponents(alpha=1.5)
    return ls.EulerMaruyama(ls.SGD(landscape, driver, epsilon=epsilon, scale=scale), dt=dt)


@pytest.fixture(scope="module")
def stable():
    return ls.simulate_escape(stepper(), ball(), jnp.zeros(2), num=2000, seed=0)


@pytest.fixture(scope="module")
def brownian():
    return ls.simulate_escape(
        stepper(0.7, ls.Brownian(), dt=1e-3), ball(), jnp.zeros(2), num=500, seed=0
    )


def rows(like, outside, inside=None):
    """A result of the shape of `like` whose trajectories were first seen at the given places."""
    num = len(outside)
    outside = np.asarray(outside, np.float32)
    inside = np.zeros_like(outside) if inside is None else np.asarray(inside, np.float32)
    ones = np.ones(num, bool)
    return dataclasses.replace(
        like,
        time=np.ones(num),
        exited=ones,
        label=ones.astype(np.int32),
        last_inside=inside,
        first_outside=outside,
        steps=ones.astype(np.uint32),
        status=ones.astype(np.int8),
    )


def test_bounded_mean_is_clopper_pearson():
    for k, n in ((0, 5), (3, 20), (20, 20), (117, 400)):
        exact = binomtest(k, n).proportion_ci(0.9, method="exact")
        mean = bounded_mean(float(k), n, 0.9)
        np.testing.assert_allclose(
            [mean.low, mean.high, mean.value], [exact.low, exact.high, k / n], atol=1e-12
        )
    assert (
        bounded_mean(3.0, 20, 0.9).low
        < bounded_mean(3.5, 20, 0.9).low
        < bounded_mean(4.0, 20, 0.9).low
    )


def test_shares_of_known_displacements(stable):
    minimum = jnp.array([2.0, -1.0])
    well = ls.Quadratic(hessian=jnp.array([[1.5, 0.5], [0.5, 1.5]]), minimum=minimum)
    flat, sharp = np.array([1.0, -1.0]) / np.sqrt(2), np.array([1.0, 1.0]) / np.sqrt(2)
    places = np.asarray(minimum) + np.array([3 * flat, -2 * flat, 5 * sharp, 4 * sharp + 3 * flat])
    found = exit_directions(rows(stable, places), well, confidence=0.9)
    np.testing.assert_allclose(found.eigenvalues, [1, 2], rtol=1e-6)
    np.testing.assert_allclose(
        np.abs(found.components), [[3, 0], [2, 0], [0, 5], [3, 4]], atol=1e-5
    )
    np.testing.assert_allclose(found.shares, [(1 + 1 + 9 / 25) / 4, (1 + 16 / 25) / 4], rtol=1e-5)
    expected = bounded_mean(2.36, 4, 0.9)
    np.testing.assert_allclose(found.intervals[0], [expected.low, expected.high], rtol=1e-5)
    assert found.predicted is None
    by_matrix = exit_directions(
        rows(stable, places), np.array([[1.5, 0.5], [0.5, 1.5]]), minimum=minimum
    )
    np.testing.assert_allclose(by_matrix.shares, found.shares, rtol=1e-6)
    assert "4 exits" in repr(found)
    assert "90%" in repr(found)


def test_far_exits_do_not_overflow(stable):
    found = exit_directions(
        rows(stable, [[1e30, 0.0], [0.0, -1e25], [np.inf, 0.0]]),
        np.diag([1.0, 2.0]),
        minimum=[0.0, 0.0],
    )
    np.testing.assert_allclose(found.shares, [0.5, 0.5])


@pytest.mark.parametrize("kind", ["components", "scaled", "isotropic"])
def test_directions_follow_the_law(kind):
    """Exits of single jumps: the share along each eigenvector is that of the law, up to O(eps) of
    the place jumped from."""
    driver = (
        ls.StableIsotropic(alpha=1.5) if kind == "isotropic" else ls.StableComponents(alpha=1.5)
    )
    scale = None if kind == "components" else jnp.array([[1.0, 0.4], [0.0, 0.6]])
    kernel = stepper(0.02, driver, scale=scale, dt=0.05)
    run = ls.simulate_escape(kernel, ball(), jnp.zeros(2), num=3000, seed=1)
    law = ls.escape_law(kernel.dynamics, ball(), check=False)
    found = exit_directions(run, WELL, law=law)
    assert found.predicted.sum() == pytest.approx(1, rel=1e-5)
    share = found.components**2 / np.sum(found.components**2, 1, keepdims=True)
    for k in (0, 1):
        assert_mean(share[:, k], found.predicted[k], relative_error=0.15, what=f"eigenvector {k}")
    assert "law" in repr(found)


def test_prediction_for_two_axes_by_hand():
    """Components noise, diagonal Hessian, box: ray distances a and b give shares a^-alpha and
    b^-alpha."""
    well = ls.Quadratic(hessian=jnp.array([1.0, 2.0]))
    box = ls.Box(lower=jnp.array([-1.0, -2.0]), upper=jnp.array([1.0, 2.0]))
    law = ls.escape_law(
        ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=0.01), box, check=False
    )
    place = rows(
        ls.simulate_escape(stepper(), ball(), jnp.zeros(2), num=16, seed=0, max_steps=1),
        [[1.5, 0.0]],
    )
    predicted = exit_directions(place, well, law=law).predicted
    np.testing.assert_allclose(predicted, np.array([1, 2**-1.5]) / (1 + 2**-1.5), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(law.ray_direction, axis=1), 1, rtol=1e-6)


def test_prediction_in_a_skewed_eigenbasis():
    """Three dimensions, where a basis and its transpose differ: `sum_i share_i V_ik^2`, shares by
    the box's half-widths."""
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    hessian, wide = (basis * [1.0, 2.0, 4.0]) @ basis.T, np.array([1.0, 2.0, 3.0])
    well = ls.Quadratic(hessian=(hessian + hessian.T) / 2)
    box = ls.Box(lower=-jnp.asarray(wide, dtype=float), upper=jnp.asarray(wide, dtype=float))
    dynamics = ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=0.01)
    run = ls.simulate_escape(
        ls.EulerMaruyama(dynamics, dt=0.01), box, jnp.zeros(3), num=16, seed=0, max_steps=1
    )
    predicted = exit_directions(
        rows(run, [[1.5, 0.0, 0.0]]), well, law=ls.escape_law(dynamics, box, check=False)
    ).predicted
    share = wide**-1.5 / np.sum(wide**-1.5)
    np.testing.assert_allclose(predicted, share @ basis**2, rtol=1e-4)


def test_last_jumps_are_the_words_of_the_last_step(stable):
    """The step is made again from the last point inside."""
    kernel = stepper()
    found = last_jumps(stable, kernel, ball())
    assert found.steps_back.max() == 0
    gradient = stable.last_inside @ np.asarray(WELL.hessian(jnp.zeros(2)))
    landed = stable.last_inside - 0.02 * gradient + found.jump
    np.testing.assert_allclose(landed, stable.first_outside, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.jump, 0.05 * found.increment, rtol=1e-5)
    # the ball has radius 1
    np.testing.assert_allclose(found.reach, np.linalg.norm(found.jump, axis=1), rtol=1e-4)


def test_stable_noise_jumps_and_brownian_noise_creeps(stable, brownian):
    jumps = last_jumps(stable, stepper(), ball())
    assert jumps.jump_share.low > 0.95
    assert jumps.jump_share.value == jumps.jumped.mean() == (jumps.reach >= 0.5).mean()
    creeps = last_jumps(brownian, stepper(0.7, ls.Brownian(), dt=1e-3), ball())
    assert creeps.jump_share.value == 0
    assert creeps.jump_share.high < 0.01
    assert creeps.reach.max() < 0.2
    all_of_them = last_jumps(stable, stepper(), ball(), threshold=1e-6, confidence=0.8)
    assert all_of_them.jump_share.value == 1
    assert all_of_them.jump_share.confidence == 0.8
    assert "2000 exits" in repr(jumps)


def test_last_jumps_of_chosen_paths(stable):
    ids = [5, 99, 1500]
    paths = ls.simulate_paths(
        stepper(),
        jnp.zeros(2),
        ids=ids,
        seed=0,
        times=[float(stable.time[ids].max())],
        domain=ball(),
    )
    whole, few = last_jumps(stable, stepper(), ball()), last_jumps(paths, stepper(), ball())
    assert few.ids.tolist() == ids
    np.testing.assert_array_equal(few.increment, whole.increment[ids])
    np.testing.assert_array_equal(
        exit_directions(paths, WELL).components, exit_directions(stable, WELL).components[ids]
    )


def test_a_window_finds_the_furthest_of_several_steps(stable):
    """Held against a loop over the steps."""
    kernel = stepper()
    some = dataclasses.replace(stable, exited=stable.exited & (np.arange(2000) < 4))
    short = dataclasses.replace(
        some, steps=np.where(np.arange(2000) == 2, 3, some.steps).astype(np.uint32)
    )
    found = last_jumps(short, kernel, ball(), window=6)
    for row in range(4):
        key = trajectory_key(
            jnp.asarray(split_uint64(0)), jnp.asarray(split_uint64(np.array([row])))
        )
        made = int(short.steps[row])
        sizes = []
        for step in range(made - 1, max(made - 7, -1), -1):
            words = step_words(key, jnp.array([step], jnp.uint32), kernel.words_per_step)[:, 0]
            y = kernel.dynamics.driver.increment(words, 2, kernel.dt)
            sizes.append(float(0.05 * jnp.sqrt(jnp.sum(y * y))))
        assert len(sizes) == (3 if row == 2 else 6)
        assert found.steps_back[row] == np.argmax(sizes)
        assert found.reach[row] == pytest.approx(max(sizes), rel=1e-4)


def test_before_the_first_step_there_was_none(stable):
    first = dataclasses.replace(stable, steps=np.ones(2000, np.uint32))
    assert last_jumps(first, stepper(), ball(), window=6).steps_back.max() == 0


def test_overshoot_of_the_exiting_jump():
    """`P(X > x) = (a0/x)^alpha`: half of the jumps beyond a0 go beyond 2^(1/alpha) a0 (theory: the
    exit place)."""
    well = ls.Quadratic(hessian=jnp.ones(1))
    kernel, box = (
        stepper(0.03, landscape=well, dt=0.05),
        ls.Box(lower=-jnp.ones(1), upper=jnp.full(1, 0.5)),
    )
    run = ls.simulate_escape(kernel, box, jnp.zeros(1), num=4000, seed=2)
    found = last_jumps(run, kernel, box)
    right = found.jump[:, 0] > 0
    expected = 0.5**-1.5 / (0.5**-1.5 + 1)
    assert_close(
        right.mean(), np.sqrt(expected * (1 - expected) / right.size), expected, 0.06, "side"
    )
    far = found.jump[right, 0] > 0.5 * 2 ** (1 / 1.5)
    assert_close(far.mean(), 0.5 / np.sqrt(far.size), 0.5, 0.1, "overshoot")


def test_landings_in_the_double_well():
    """Exits to the left slide back; those to the right of a saddle end in the other well."""
    well = ls.DoubleWell(dim=2, stiffness=3.0)
    some = ls.simulate_escape(
        stepper(0.3, landscape=well),
        ball(dim=2, radius=2.5),
        jnp.array([-1.0, 0]),
        num=16,
        seed=0,
        max_steps=1,
    )
    places = [[-2.5, 0.1], [0.05, -0.7], [1e6, 3.0], [-0.05, 1e5], [3.0, -1.0], [-1.0, 0.0]]
    found = landing_sharpness(rows(some, places), well)
    assert isinstance(found, Landings)
    assert found.settled.all()
    assert found.minimum.tolist() == [0, 1, 1, 0, 1, 0]
    np.testing.assert_allclose(found.points, np.asarray(well.minima)[found.minimum], atol=1e-3)
    np.testing.assert_allclose(found.trace, 8 + 3.0, rtol=1e-5)
    np.testing.assert_allclose(found.largest_eigenvalue, 8.0, rtol=1e-5)
    assert [share.value for share in found.shares] == [0.5, 0.5]
    exact = binomtest(3, 6).proportion_ci(0.95, method="exact")
    assert found.shares[0].low == pytest.approx(exact.low)
    assert re.search(r"minimum 1 +0\.5 \[", repr(found))


def test_landings_where_minima_differ():
    """A landscape that knows one minimum only, and points that do not settle."""

    def loss(x):
        return x[0] ** 4 / 4 - x[0] ** 2 / 2 + 0.1 * x[0]

    low = float(np.roots([1, 0, -1, 0.1]).real.min())
    well = ls.from_function(loss, dim=1, minimum=jnp.array([low]))
    run = ls.simulate_escape(
        stepper(0.3, landscape=well),
        ball(1.0, 1).__class__(radius=1.0, center=jnp.array([low])),
        jnp.array([low]),
        num=16,
        seed=0,
        max_steps=1,
    )
    high = float(np.roots([1, 0, -1, 0.1]).real.max())
    found = landing_sharpness(rows(run, [[-3.0], [2.0]]), well)
    assert found.minimum.tolist() == [0, -1]
    np.testing.assert_allclose(found.points[:, 0], [low, high], atol=1e-3)
    np.testing.assert_allclose(
        found.largest_eigenvalue, 3 * np.array([low, high]) ** 2 - 1, rtol=1e-2
    )
    assert "elsewhere" in repr(found)
    both = landing_sharpness(rows(run, [[-3.0], [2.0]]), well, minima=[[low], [high]])
    assert both.minimum.tolist() == [0, 1]
    hurried = landing_sharpness(rows(run, [[-3.0], [low]]), well, max_steps=2)
    assert hurried.settled.tolist() == [False, True]
    assert hurried.minimum.tolist() == [-1, 0]


def test_descent_stays_in_the_valley_it_starts_in():
    """It ends where a fine Euler step of the gradient flow ends, from random starts in a rugged
    loss."""

    def loss(x):
        return jnp.sum(x * x) / 20 + jnp.sum(jnp.cos(3 * x))

    low = np.pi / 3
    for _ in range(6):
        low -= (low / 10 - 3 * np.sin(3 * low)) / (0.1 - 9 * np.cos(3 * low))
    rugged = ls.from_function(loss, dim=2, minimum=jnp.full(2, low))
    run = ls.simulate_escape(
        stepper(0.3, landscape=rugged), ball(9.0), jnp.zeros(2), num=16, seed=0, max_steps=1
    )
    starts = np.random.default_rng(0).uniform(-8, 8, (200, 2))
    found = landing_sharpness(rows(run, starts), rugged, tolerance=1e-4)
    x = starts.copy()
    for _ in range(4000):
        x -= 0.01 * (x / 10 - 3 * np.sin(3 * x))
    assert found.settled.all()
    # starts on a ridge may go either way
    assert np.mean(np.linalg.norm(found.points - x, axis=1) < 0.01) > 0.97


def test_float64(float64):
    well = ls.Quadratic(hessian=jnp.array([1.0, 2.0]))
    kernel = stepper(0.2, landscape=well)
    run = ls.simulate_escape(kernel, ball(), jnp.zeros(2), num=32, seed=0)
    assert run.first_outside.dtype == np.float64
    landed = (
        run.last_inside * (1 - 0.02 * np.array([1.0, 2.0])) + last_jumps(run, kernel, ball()).jump
    )
    np.testing.assert_allclose(landed, run.first_outside, rtol=1e-12)
    assert (landing_sharpness(run, well, tolerance=1e-9).minimum == 0).all()


DIRECTIONS = [
    ({"result": 1}, TypeError, r"result must be an EscapeResult or Paths"),
    ({"landscape": "well"}, TypeError, r"landscape, when it is a Hessian, must be"),
    ({"landscape": np.ones((2, 3)), "minimum": [0.0, 0.0]}, ValueError, r"must be square"),
    (
        {"landscape": np.array([[1.0, 2.0], [0.0, 1.0]]), "minimum": [0.0, 0.0]},
        ValueError,
        r"must "
        r"be "
        r"symmetric",
    ),
    ({"landscape": np.eye(2)}, ValueError, r"does not say where its minimum is"),
    (
        {"landscape": np.eye(3), "minimum": np.zeros(3)},
        ValueError,
        r"points of 2 dimensions, not "
        r"3",
    ),
    ({"minimum": [0.0]}, ValueError, r"minimum must have shape"),
    ({"law": 1.0}, TypeError, r"law must be an EscapeLaw"),
    ({"confidence": 1.0}, ValueError, r"confidence must lie"),
]
JUMPS = [
    ({"result": None}, TypeError, r"result must be an EscapeResult or Paths"),
    ({"kernel": WELL}, TypeError, r"kernel must be an EulerMaruyama"),
    ({"domain": WELL}, TypeError, r"domain must be a Domain"),
    ({"domain": ball(dim=3)}, ValueError, r"3 dimensions, the kernel moves in 2"),
    ({"threshold": 0.0}, ValueError, r"threshold must be positive"),
    ({"window": 0}, ValueError, r"window must be"),
    ({"window": 1.5}, TypeError, r"window must be an integer"),
    ({"confidence": "high"}, TypeError, r"confidence must be"),
]
LANDINGS = [
    ({"result": None}, TypeError, r"result must be an EscapeResult or Paths"),
    ({"landscape": ball()}, TypeError, r"landscape must be a Landscape"),
    ({"landscape": ls.DoubleWell(dim=1)}, ValueError, r"points of 2 dimensions, not 1"),
    ({"minima": np.zeros((2, 3))}, ValueError, r"minima must have shape \(m, 2\)"),
    ({"minima": [[np.nan, 0.0]]}, ValueError, r"minima must be finite"),
    ({"tolerance": -1.0}, ValueError, r"tolerance must be positive"),
    ({"max_steps": 0}, ValueError, r"max_steps must be"),
    ({"confidence": 0}, ValueError, r"confidence must lie"),
]
CALLS = {
    "directions": (exit_directions, {"landscape": WELL}, DIRECTIONS),
    "jumps": (last_jumps, {"kernel": stepper(), "domain": ball()}, JUMPS),
    "landings": (landing_sharpness, {"landscape": WELL}, LANDINGS),
}


@pytest.mark.parametrize(
    ("name", "case"), [(name, i) for name, call in CALLS.items() for i in range(len(call[2]))]
)
def test_bad_input(stable, name, case):
    call, good, table = CALLS[name]
    change, kind, message = table[case]
    arguments = {"result": stable} | good | change
    with pytest.raises(kind, match=message):
        call(**arguments)


def test_nothing_left(stable):
    nothing = dataclasses.replace(stable, exited=np.zeros(2000, bool))
    for call, good, _ in CALLS.values():
        with pytest.raises(ValueError, match="no trajectory left"):
            call(nothing, **good)


def test_averaged_noise_is_refused_without_a_window(stable):
    law = ls.escape_law(stepper().dynamics, ball(), check=False)
    with pytest.raises(ValueError, match="says nothing about directions"):
        exit_directions(stable, WELL, law=dataclasses.replace(law, response="flow"))
    with pytest.raises(ValueError, match="3 dimensions, the Hessian 2"):
        exit_directions(stable, WELL, law=dataclasses.replace(law, ray_direction=np.ones((4, 3))))


def test_last_jumps_need_the_attractor_inside():
    dynamics = ls.SGD(ls.DoubleWell(dim=1), ls.StableComponents(alpha=1.5), epsilon=0.5)
    right = ls.Predicate(lambda x: x[0] > 0, dim=1)  # the marked minimum is at -1
    kernel = ls.EulerMaruyama(dynamics, 0.01)
    result = ls.simulate_escape(kernel, right, jnp.ones(1), num=8, seed=0, max_time=1e3)
    with pytest.raises(ValueError, match=r"attractor .* lies outside the domain"):
        ls.last_jumps(result, kernel, right)
