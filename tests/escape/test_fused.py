"""The kernel that makes many steps on an accelerator: the same words and exits as the loop, and
what it cannot take."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import levysde as ls
from levysde.escape import fused, scalars, worker
from levysde.escape.block import Block, advance, begin, empty_stack
from levysde.escape.paths import Everywhere
from levysde.protocols import Kernel
from levysde.random import split_uint64, step_words, trajectory_key

LANES, LIMIT = 64, np.uint32(10_000)
WELL = ls.Quadratic(hessian=jnp.array([[2.0, 0.5], [0.5, 1.0]]))
BALL = ls.Ball(radius=1.0, center=jnp.zeros(2))
STABLE = ls.StableComponents(alpha=1.5)


def sgd(driver=STABLE, well=WELL, epsilon=0.3, **more):
    return ls.SGD(well, driver, epsilon=epsilon, **more)


def state_scale(**more):
    return sgd(scale=ls.StateScale(lambda x: 1 + 0.5 * jnp.sin(x), dim=2), **more)


def problem(dynamics, domain=BALL, dt=0.01):
    return ls.EulerMaruyama(dynamics, dt=dt), domain


# Run by the kernel's interpreter and compared with the loop; the others are lowered for a GPU,
# which compiles nothing here.
RUN = {
    "components": lambda: problem(sgd()),
    "isotropic, three dimensions": lambda: problem(
        sgd(ls.StableIsotropic(alpha=1.3), ls.Quadratic(hessian=jnp.ones(3))),
        ls.Ball(radius=1.0, center=jnp.zeros(3)),
    ),
    "ADAM in a sublevel set": lambda: problem(
        ls.Adam(WELL, STABLE, epsilon=0.3, rates=(10.0, 1.0), delta=0.1),
        ls.Sublevel(WELL, height=1.0),
    ),
    "Marcus": lambda: problem(state_scale(convention="marcus")),
}
LOWERED = {
    "exact draws": lambda: problem(sgd(ls.StableComponents(1.5, exact_sampler=True))),
    "Brownian": lambda: problem(sgd(ls.Brownian())),
    "skewed": lambda: problem(sgd(ls.SkewedComponents(1.5, 0.5))),
    "truncated components": lambda: problem(sgd(ls.TruncatedComponents(1.5, 5.0))),
    "truncated isotropic": lambda: problem(sgd(ls.TruncatedIsotropic(1.5, 5.0))),
    "tempered components": lambda: problem(sgd(ls.TemperedComponents(1.5, 5.0))),
    "tempered isotropic": lambda: problem(sgd(ls.TemperedIsotropic(1.5, 5.0))),
    "compound Poisson": lambda: problem(sgd(ls.CompoundPoisson(1.0, ls.GaussianJump(1.0, dim=2)))),
    "Student": lambda: problem(sgd(ls.StudentT(3.0, 0.01))),
    "mixture": lambda: problem(sgd(ls.GaussianMixture([0.9, 0.1], [1.0, 5.0], 0.01))),
    "sum": lambda: problem(sgd(ls.DriverSum(ls.Brownian(), STABLE))),
    "state scale": lambda: problem(state_scale()),
    "double well": lambda: problem(sgd(well=ls.DoubleWell(dim=2))),
    "Styblinski-Tang": lambda: problem(sgd(well=ls.StyblinskiTang(2))),
    "Rastrigin": lambda: problem(sgd(well=ls.Rastrigin(2))),
    "Mueller-Brown": lambda: problem(sgd(well=ls.MuellerBrown(loss_factor=0.01))),
    "chain of wells": lambda: problem(sgd(well=ls.sharp_flat(dim=2))),
    "box": lambda: problem(sgd(), ls.Box(lower=-jnp.ones(2), upper=jnp.ones(2))),
    "intersection": lambda: problem(sgd(), ls.Intersection(BALL, BALL)),
    "exit sets": lambda: problem(sgd(), ls.ExitSets(ls.Ball(radius=1.0, center=3 * jnp.ones(2)))),
    "basin": lambda: problem(sgd(well=ls.DoubleWell(dim=2)), ls.Basin(ls.DoubleWell(dim=2))),
    "momentum": lambda: problem(ls.Momentum(WELL, STABLE, learning_rate=0.01, momentum=0.9)),
    "RMSProp": lambda: problem(ls.RMSProp(WELL, STABLE, learning_rate=0.01, delta=0.1)),
    "scheduled": lambda: problem(ls.Scheduled(sgd(), lambda t: 1 / (1 + t))),
}


def block(kernel: Kernel, lanes: int = LANES, seed: int = 7) -> Block:
    empty = jax.tree.map(lambda leaf: leaf[0], empty_stack(kernel, 1, lanes, np.float32))
    keys = trajectory_key(split_uint64(seed), split_uint64(np.arange(lanes, dtype=np.uint64)))
    start, everyone = jnp.zeros((kernel.dim, lanes)), np.ones(lanes, bool)
    return jax.jit(begin)(kernel, empty, everyone, start, keys, np.arange(lanes, dtype=np.int32))


def interpreted(parts, lanes, count, limit=LIMIT) -> Block:
    return jax.jit(functools.partial(fused.advance, interpret=True))(
        parts, lanes, limit, np.int32(count)
    )


def lowered(parts, lanes) -> str:
    """The program for a GPU, of a kind that is named and need not be here."""
    gpu = jax.sharding.AbstractDevice(device_kind="NVIDIA H200", num_cores=132, platform="gpu")
    with jax.sharding.use_abstract_mesh(
        jax.sharding.AbstractMesh((1,), ("x",), abstract_device=gpu)
    ):
        traced = jax.jit(fused.fused_or_looped).trace(parts, lanes, LIMIT, np.int32(100))
        return traced.lower(lowering_platforms=("cuda",)).as_text()


class Words(Kernel):
    """Keeps the words of its last step, an odd number of them."""

    unit: str = eqx.field(static=True, default="steps")
    words_per_step, words_per_init, dim = 5, 0, 1

    def init(self, x0, words):
        return x0, jnp.zeros(5, jnp.uint32)

    def step(self, words, state):
        return state[0], words

    def position(self, state):
        return state[0]

    def elapsed(self, state, steps):
        return steps

    def steps_within(self, time):
        return int(time)

    def noise_directions(self):
        return jnp.ones((1, 1))


@pytest.mark.slow
def test_words_are_the_same_bits():
    lanes = block(Words())
    _, words = interpreted((Words(), Everywhere(1)), lanes, 38).state
    np.testing.assert_array_equal(words, step_words(lanes.key, jnp.full(LANES, 37, jnp.uint32), 5))


@pytest.mark.slow_cases("ADAM", "isotropic", "Marcus")
@pytest.mark.parametrize("name", RUN)
def test_same_exits_as_the_loop(name):
    kernel, domain = RUN[name]()
    lanes = block(kernel)
    expected = jax.jit(advance)((kernel, domain), lanes, LIMIT, np.int32(150))
    run = interpreted((kernel, domain), lanes, 150)
    made = np.asarray(expected.step)
    assert 4 < (made < 150).sum() < LANES  # some have left
    np.testing.assert_array_equal(run.step, made)
    for got, wanted in zip(jax.tree.leaves(run), jax.tree.leaves(expected), strict=True):
        # sums may be rounded elsewhere
        np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-6)
    np.testing.assert_array_equal(run.key, lanes.key)


@pytest.mark.slow
def test_limit_idle_lanes_and_odd_numbers_of_lanes():
    kernel, domain = RUN["components"]()
    lanes = block(kernel, 48)
    idle = lanes._replace(step=lanes.step.at[16:32].set(np.uint32(0xFFFFFFFF)))
    run = interpreted((kernel, domain), idle, 50, np.uint32(20))
    assert np.asarray(run.step)[:16].max() == 20
    np.testing.assert_array_equal(np.asarray(run.step)[16:32], 0xFFFFFFFF)
    np.testing.assert_array_equal(run.before[:, 16:32], 0)
    expected = jax.jit(advance)((kernel, domain), idle, np.uint32(20), np.int32(50))
    np.testing.assert_array_equal(run.step, expected.step)


@pytest.mark.slow
def test_float64(float64):
    kernel, domain = RUN["components"]()
    lanes = block(kernel)
    lanes = lanes._replace(
        state=lanes.state.astype(jnp.float64), before=lanes.before.astype(jnp.float64)
    )
    run, expected = (
        f((kernel, domain), lanes, LIMIT, np.int32(60))
        for f in (jax.jit(functools.partial(fused.advance, interpret=True)), jax.jit(advance))
    )
    assert run.state.dtype == jnp.float64
    np.testing.assert_allclose(run.state, expected.state, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", [*RUN, *LOWERED])
@pytest.mark.slow_cases(but=("components", "Marcus", "basin", "sum"))
def test_compiles_to_one_gpu_kernel(name):
    kernel, domain = {**RUN, **LOWERED}[name]()
    assert lowered((kernel, domain), block(kernel)).count("xla.gpu.triton") == 1


@pytest.mark.slow
def test_what_cannot_be_written_out_keeps_the_loop():
    images, labels = jnp.ones((64, 8)), jnp.zeros(64, int)

    def loss(x):
        return jnp.mean((images @ x[:8].reshape(8) - labels) ** 2) + 1e-3 * jnp.sum(x * x)

    well = ls.from_function(loss, dim=8, minimum=jnp.zeros(8))
    kernel, domain = problem(sgd(well=well), ls.Ball(radius=1.0, center=jnp.zeros(8)))
    lanes = block(kernel)
    with pytest.raises(scalars.CannotWriteOut, match="dot_general"):
        interpreted((kernel, domain), lanes, 5)
    assert "triton" not in lowered((kernel, domain), lanes)
    kernel, domain = problem(
        sgd(well=ls.Quadratic(hessian=jnp.ones(1000))), ls.Ball(radius=1.0, center=jnp.zeros(1000))
    )
    with pytest.raises(scalars.CannotWriteOut, match="more than 16384 operations"):
        interpreted((kernel, domain), block(kernel), 5)


@pytest.fixture
def kernels_on_cpu(monkeypatch):
    monkeypatch.setattr(worker, "FUSED", ("cpu",))
    worker.compiled_advance.cache_clear()
    worker._compiled.clear()
    yield monkeypatch
    worker.compiled_advance.cache_clear()
    worker._compiled.clear()


def escape():
    kernel, domain = RUN["components"]()
    return ls.simulate_escape(kernel, domain, jnp.zeros(2), num=300, seed=3, lanes=64, devices=1)


@pytest.mark.slow
def test_the_engine_runs_on_the_kernel(kernels_on_cpu):
    kernels_on_cpu.setattr(
        worker, "fused_or_looped", functools.partial(fused.advance, interpret=True)
    )
    run = escape()
    assert worker._compiled
    assert all(is_fused for is_fused, _ in worker._compiled.values())
    kernels_on_cpu.undo()
    expected = escape()
    np.testing.assert_array_equal(run.steps, expected.steps)
    np.testing.assert_array_equal(run.label, expected.label)
    np.testing.assert_allclose(run.first_outside, expected.first_outside, rtol=1e-4, atol=1e-5)


def test_a_kernel_that_does_not_compile_gives_way_to_the_loop(kernels_on_cpu):
    with pytest.warns(
        UserWarning,
        match=r"in XLA's loop, more slowly.*Only interpret mode is "
        r"supported on CPU",
    ):
        run = escape()
    assert escape().info.compile_seconds == 0  # told and tried once
    kernels_on_cpu.undo()
    np.testing.assert_array_equal(run.first_outside, escape().first_outside)


FUNCTIONS = {
    "slices": lambda x: jnp.concatenate([x[1:3], x[::-1], x[:1] * 2]),
    "matrix": lambda x: x.reshape(2, 3).T * jnp.arange(6.0).reshape(3, 2),
    "sums": lambda x: jnp.sum(x.reshape(2, 3), 0) + jnp.max(x) - jnp.prod(x),
    "pad and split": lambda x: jnp.split(jnp.pad(x, (1, 3), constant_values=2.0), 2)[1],
    "gather": lambda x: x[jnp.array([3, 0, 0, 5])],
    "scatter": lambda x: x.at[jnp.array([1, 4])].set(x[:2]),
    "running": lambda x: jnp.cumsum(x) + jnp.cumsum(x[::-1]),
    "running rows": lambda x: jnp.cumsum(x.reshape(2, 3), axis=1),
    "places": lambda x: jnp.array([jnp.argmax(x), jnp.argmin(x), jnp.argmax(x.at[2].set(jnp.nan))]),
    "rounding": lambda x: jnp.concatenate(
        [jnp.round(x * 4) / 4, jnp.round(jnp.array([0.5, 1.5, -0.5, -1.5, 2.5]))]
    ),
    "rounding away": lambda x: jax.lax.round(x * 4, jax.lax.RoundingMethod.AWAY_FROM_ZERO),
    "branches": lambda x: jax.lax.switch(
        (x[0] > 0).astype(int), [lambda v: v + 1, lambda v: 2 * v], x
    ),
    "three branches": lambda x: jax.lax.switch(
        jnp.floor(x[0] * 2).astype(int), [lambda v: v, lambda v: -v, lambda v: v * v], x
    ),
    "a known branch": lambda x: jax.lax.cond(
        jnp.arange(3)[1] > 0, lambda v: v + 1, lambda v: v - 1, x
    ),
    "a loop": lambda x: jax.lax.while_loop(
        lambda v: jnp.sum(v * v) < 30, lambda v: v * 1.5 + 0.1, x
    ),
    "stack": lambda x: jnp.stack([x, 2 * x]).sum(0),
    "clip": lambda x: jnp.clip(x, -0.5, 0.5),
    "derivative": jax.grad(lambda x: jnp.sum(jnp.sin(x) * x[::-1]) + jnp.max(x)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_number_by_number_is_the_same_function(name):
    function = FUNCTIONS[name]
    points = np.random.default_rng(0).normal(size=(6, 16)).astype(np.float32)
    program = jax.make_jaxpr(function)(points[:, 0])

    @jax.jit
    def by_number(points):
        [result] = scalars.run(program, [scalars.numbers((6,), points)])
        return [jnp.broadcast_to(part, (16,)) for part in result.reshape(-1)]

    expected = np.asarray(jax.jit(jax.vmap(function, in_axes=-1, out_axes=-1))(points))
    np.testing.assert_allclose(
        np.reshape(by_number(points), expected.shape), expected, rtol=1e-6, atol=1e-6
    )


def test_places_that_are_not_known_are_refused():
    program = jax.make_jaxpr(lambda x: x[jnp.argmax(x)])(jnp.zeros(3))
    with pytest.raises(scalars.CannotWriteOut, match="places that are not known"):
        scalars.run(program, [scalars.numbers((3,), jnp.ones((3, 4)))])
