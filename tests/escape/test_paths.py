"""Whole trajectories: the engine's own, bit for bit, at the times asked for."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import levysde as ls
from levysde.escape import Paths
from levysde.protocols import Kernel

pytestmark = pytest.mark.slow

FIELDS = {"end_time": "time", "end_step": "steps"} | {
    name: name for name in ("exited", "label", "last_inside", "first_outside", "status")
}


def kernel(epsilon=0.3, alpha=1.5, dt=0.01, driver=None):
    well = ls.Quadratic(hessian=jnp.array([[1.0, 0.3], [0.3, 2.0]]))
    return ls.EulerMaruyama(
        ls.SGD(well, driver or ls.StableComponents(alpha=alpha), epsilon=epsilon), dt=dt
    )


def ball(radius=1.0):
    return ls.Ball(radius=radius, center=jnp.zeros(2))


def assert_rows(paths, run, rows):
    for mine, its in FIELDS.items():
        np.testing.assert_array_equal(getattr(paths, mine), getattr(run, its)[rows], err_msg=mine)


@pytest.fixture(scope="module")
def run():
    return ls.simulate_escape(
        kernel(), ball(), jnp.zeros(2), num=200, seed=7, max_steps=500, lanes=64
    )


@pytest.fixture(scope="module")
def fine():
    """Every step of the first twenty trajectories of that run."""
    return ls.simulate_paths(
        kernel(), jnp.zeros(2), num=20, seed=7, every=1, max_steps=500, domain=ball()
    )


def test_paths_are_the_engines_trajectories(run, fine):
    assert 0 < run.exited[:20].sum() < 20  # both kinds of ending
    assert_rows(fine, run, slice(0, 20))
    many = ls.simulate_paths(kernel(), jnp.zeros(2), num=200, seed=7, times=[5.0], domain=ball())
    assert_rows(many, run, slice(None))


def test_adam_in_float64_too(float64):
    well = ls.Quadratic(hessian=jnp.array([1.0, 2.0]))
    adam = ls.Adam(well, ls.StableIsotropic(alpha=1.3), epsilon=0.3, rates=(10.0, 1.0))
    stepper, domain = ls.EulerMaruyama(adam, dt=0.02), ls.Sublevel(well, height=1.0)
    run = ls.simulate_escape(stepper, domain, jnp.zeros(2), num=100, seed=1, max_time=20.0)
    paths = ls.simulate_paths(
        stepper, jnp.zeros(2), num=100, seed=1, every=37, max_time=20.0, domain=domain
    )
    assert paths.positions.dtype == np.float64
    assert_rows(paths, run, slice(None))


def test_the_grid_does_not_change_a_bit(fine):
    coarse = ls.simulate_paths(
        kernel(), jnp.zeros(2), num=20, seed=7, every=33, max_steps=500, domain=ball()
    )
    np.testing.assert_array_equal(coarse.steps, [*range(0, 500, 33), 500])
    np.testing.assert_array_equal(coarse.positions, fine.positions[:, coarse.steps])
    some = ls.simulate_paths(
        kernel(), jnp.zeros(2), num=5, seed=7, times=[0.0, 0.02, 1.0, 5.0], domain=ball()
    )
    np.testing.assert_array_equal(some.steps, [0, 2, 100, 500])
    np.testing.assert_allclose(some.times, [0, 0.02, 1.0, 5.0], rtol=1e-6)
    np.testing.assert_array_equal(some.positions, fine.positions[:5, some.steps])


def test_positions_are_at_the_steps_they_say(fine):
    """Consecutive positions differ by one step of the kernel with the words of that step."""
    from levysde.random import split_uint64, step_words, trajectory_key

    stepper, i = kernel(), int(np.argmax(fine.end_step))
    key = trajectory_key(jnp.asarray(split_uint64(7)), jnp.asarray(split_uint64(np.array([i]))))
    for step in (0, 1, 63, 64, 200):  # 64: across two calls
        words = step_words(key, jnp.array([step], jnp.uint32), stepper.words_per_step)[:, 0]
        expected = stepper.step(words, jnp.asarray(fine.positions[i, step]))
        np.testing.assert_allclose(fine.positions[i, step + 1], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("budget", [1, 2, 4, 5, 6, 49, 1000])
def test_every_look_lands_on_the_grid_whatever_a_call_may_do(budget):
    from levysde.escape.paths import _plan

    grid = np.array([0, 5, 6, 50, *range(60, 200)])
    seen = made = total = 0
    while seen < len(grid):
        counts, reached, made = _plan(grid, seen, made, budget)
        assert counts.sum() <= budget
        at = total + np.cumsum(counts)
        np.testing.assert_array_equal(at[reached], grid[seen : seen + len(reached)])
        seen, total = seen + len(reached), total + int(counts.sum())
        assert total == made


def test_a_path_stays_where_it_left(fine):
    for i in np.flatnonzero(fine.exited):
        end = fine.end_step[i]
        np.testing.assert_array_equal(fine.positions[i, end - 1], fine.last_inside[i])
        assert (fine.positions[i, end:] == fine.first_outside[i]).all()
        np.testing.assert_array_equal(fine.inside[i], np.arange(501) < end)
    assert fine.inside[~fine.exited].all()
    assert (np.linalg.norm(fine.positions[fine.inside], axis=1) < 1).all()
    np.testing.assert_array_equal(fine.positions[:, 0], 0)
    np.testing.assert_array_equal(fine.last_inside[~fine.exited], fine.positions[~fine.exited, -1])


def test_chosen_trajectories_of_a_large_run(run):
    slowest = np.argsort(run.time)[-3:]
    paths = ls.simulate_paths(
        kernel(), jnp.zeros(2), ids=slowest, seed=7, every=100, max_steps=500, domain=ball()
    )
    np.testing.assert_array_equal(paths.ids, slowest)
    assert_rows(paths, run, slowest)
    huge = ls.simulate_paths(
        kernel(), jnp.zeros(2), ids=[2**63, 3], seed=7, every=100, max_steps=500, domain=ball()
    )
    assert huge.ids.tolist() == [2**63, 3]
    assert_rows(
        ls.simulate_paths(kernel(), jnp.zeros(2), ids=[3], seed=7, times=[5.0], domain=ball()),
        run,
        [3],
    )
    assert not np.array_equal(huge.positions[0], huge.positions[1])


def test_one_start_a_path():
    starts = np.random.default_rng(0).uniform(-0.5, 0.5, (40, 2)).astype(np.float32)
    run = ls.simulate_escape(kernel(), ball(), starts, num=40, seed=0, max_steps=60)
    paths = ls.simulate_paths(
        kernel(), starts, num=40, seed=0, every=10, max_steps=60, domain=ball()
    )
    np.testing.assert_array_equal(paths.positions[:, 0], starts)
    assert_rows(paths, run, slice(None))


def test_without_a_domain_paths_go_on(fine):
    free = ls.simulate_paths(kernel(), jnp.zeros(2), num=20, seed=7, every=1, max_steps=500)
    assert not free.exited.any()
    assert free.domain is None
    assert free.inside.all()
    left = np.flatnonzero(fine.exited)
    np.testing.assert_allclose(
        free.positions[fine.inside], fine.positions[fine.inside], rtol=1e-3, atol=1e-5
    )
    assert (free.positions[left, -1] != fine.positions[left, -1]).any(1).all()
    assert free.end_step.tolist() == [500] * 20


def test_network_paths_in_blocks_of_16():
    """A matmul's bits depend on the number of lanes, so on CPUs such kernels always go in blocks of
    16."""

    def loss(x):
        return jnp.sum(jnp.tanh(jnp.eye(2) @ x) ** 2)

    stepper = ls.EulerMaruyama(
        ls.SGD(
            ls.from_function(loss, dim=2, minimum=jnp.zeros(2)),
            ls.StableComponents(alpha=1.5),
            epsilon=0.3,
        ),
        dt=0.01,
    )
    first = None
    for lanes in (16, 48):
        run = ls.simulate_escape(
            stepper, ball(), jnp.zeros(2), num=40, seed=2, max_steps=200, lanes=lanes
        )
        paths = ls.simulate_paths(
            stepper,
            jnp.zeros(2),
            num=40,
            seed=2,
            every=50,
            max_steps=200,
            domain=ball(),
        )
        assert_rows(paths, run, slice(None))
        first = first or run
        np.testing.assert_array_equal(run.first_outside, first.first_outside)


def test_sweeping_compiles_nothing_new():
    from levysde.escape.paths import _compiled_look

    def look(epsilon, every):
        ls.simulate_paths(
            kernel(epsilon), jnp.zeros(2), num=16, seed=1, every=every, max_steps=300, domain=ball()
        )

    look(0.1, 100)
    programs = [_compiled_look(jax.default_backend(), fused) for fused in (False, True)]
    before = [program._cache_size() for program in programs]
    look(0.2, 3)
    assert sum(before) > 0
    assert [program._cache_size() for program in programs] == before


@pytest.mark.filterwarnings("ignore:.*past the stability limit")  # that is what makes the NaN
def test_nan_is_reported():
    steep = ls.EulerMaruyama(
        ls.SGD(ls.DoubleWell(dim=2, barrier=50.0), ls.StableComponents(alpha=1.2), epsilon=0.5),
        dt=0.05,
    )
    arguments = {"num": 16, "seed": 0, "every": 100, "max_steps": 400}
    with pytest.raises(ls.NonFiniteError, match=r"of 16 paths became NaN") as caught:
        ls.simulate_paths(steep, jnp.array([-1.0, 0.0]), **arguments)
    assert isinstance(caught.value.result, Paths)
    kept = ls.simulate_paths(steep, jnp.array([-1.0, 0.0]), throw=False, **arguments)
    assert (kept.status == ls.Status.NONFINITE).any()
    assert "became NaN" in repr(kept)


def test_repr(fine):
    text = repr(fine)
    for part in (
        "20 in 2 dimensions",
        f"{fine.exited.sum()} left Ball",
        "501 from 0 to 5",
        "SGD",
        "seed",
        "7",
    ):
        assert part in text


class Clocked(Kernel):
    """A kernel with a clock of its own in each trajectory."""

    inner: ls.EulerMaruyama
    unit: str = eqx.field(static=True, default="own time")
    dim: int = eqx.field(static=True, default=2)
    words_per_step: int = eqx.field(static=True, default=4)
    words_per_init: int = eqx.field(static=True, default=0)

    def init(self, x0, words):
        return x0

    def step(self, words, state):
        return self.inner.step(words, state)

    def position(self, state):
        return state

    def elapsed(self, state, steps):
        return np.asarray(steps, float) * (1 + np.abs(np.asarray(state)[0]))

    def steps_within(self, time):
        return int(time)

    def noise_directions(self):
        return self.inner.noise_directions()


def test_clocks_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"the clock of Clocked differs from path to path"):
        ls.simulate_paths(Clocked(kernel()), jnp.zeros(2), num=4, seed=0, every=5, max_steps=20)


GOOD = {"num": 3, "seed": 0, "every": 10, "max_steps": 100}
REFUSED = [
    ({"num": None}, ValueError, r"exactly one of num and ids"),
    ({"ids": [1]}, ValueError, r"exactly one of num and ids"),
    ({"num": 0}, ValueError, r"num must be at least 1"),
    ({"num": 2.5}, TypeError, r"num must be an integer"),
    ({"num": None, "ids": [0.5]}, TypeError, r"ids must be an integer"),
    ({"num": None, "ids": [-1]}, ValueError, r"ids must be from 0"),
    ({"num": None, "ids": np.zeros(0, int)}, ValueError, r"ids must be a list"),
    ({"num": None, "ids": 3}, ValueError, r"ids must be a list"),
    ({"seed": -1}, ValueError, r"seed must be"),
    ({"every": None}, ValueError, r"exactly one of times and every"),
    ({"times": [1.0]}, ValueError, r"exactly one of times and every"),
    ({"every": 0}, ValueError, r"every must be"),
    ({"every": 1.5}, TypeError, r"every must be an integer"),
    ({"every": 101}, ValueError, r"every = 101 is more than the 100 steps"),
    ({"max_steps": None}, ValueError, r"exactly one of max_time and max_steps"),
    ({"max_time": 1.0}, ValueError, r"exactly one of max_time and max_steps"),
    ({"max_steps": 0}, ValueError, r"max_steps must be"),
    ({"max_steps": None, "max_time": -1.0}, ValueError, r"max_time must be positive"),
    ({"every": None, "times": [1.0]}, ValueError, r"max_time and max_steps go with every"),
    ({"every": None, "max_steps": None, "times": [1.0, 1.0]}, ValueError, r"times must increase"),
    (
        {"every": None, "max_steps": None, "times": [-1.0]},
        ValueError,
        r"times must increase, from "
        r"0 on",
    ),
    ({"every": None, "max_steps": None, "times": 1.0}, ValueError, r"times must be a list"),
    ({"every": None, "max_steps": None, "times": [np.inf]}, ValueError, r"times must be finite"),
    ({"every": None, "max_steps": None, "times": "now"}, TypeError, r"times must be"),
    (
        {"every": None, "max_steps": None, "times": [0.101, 0.109]},
        ValueError,
        r"times .* fall into "
        r"one step",
    ),
    ({"every": None, "max_steps": None, "times": [1e9]}, ValueError, r"a trajectory makes at most"),
    ({"domain": "ball"}, TypeError, r"domain must be a Domain or None"),
    ({"domain": ls.Ball(radius=1.0, center=jnp.zeros(3))}, ValueError, r"3 dimensions"),
    ({"domain": ls.Ball(radius=1.0, center=jnp.full(2, 9.0))}, ValueError, r"outside the domain"),
    ({"lanes": 0}, ValueError, r"lanes must be"),
]


@pytest.mark.parametrize(("change", "kind", "message"), REFUSED)
def test_bad_input(change, kind, message):
    with pytest.raises(kind, match=message):
        ls.simulate_paths(kernel(), jnp.zeros(2), **(GOOD | change))


def test_bad_kernel_and_start():
    with pytest.raises(TypeError, match=r"kernel must be a Kernel"):
        ls.simulate_paths(ball(), jnp.zeros(2), **GOOD)
    with pytest.raises(ValueError, match=r"x0 must have shape \(2,\), or \(3, 2\)"):
        ls.simulate_paths(kernel(), jnp.zeros(3), **GOOD)
    with pytest.raises(ValueError, match=r"x0 must be finite"):
        ls.simulate_paths(kernel(), jnp.array([jnp.nan, 0.0]), **GOOD)
