"""Calls for a type checker, one a line: `# right` ones must pass, and each `# wrong` one must be an
error.

They are read, not run: `tests/test_types.py`.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import levysde as ls
from levysde import analysis, networks, noise, plots, stats, sweeps, theory

WELL = ls.Quadratic(hessian=jnp.eye(2))
STABLE = ls.StableComponents(1.5)
FLOW = ls.SGD(WELL, STABLE, epsilon=0.1)
KERNEL = ls.EulerMaruyama(FLOW, 0.01)
BALL = ls.Ball(radius=1.0, center=jnp.zeros(2))
RUN = ls.simulate_escape(KERNEL, BALL, jnp.zeros(2), num=4, seed=0)
LAW = ls.escape_law(FLOW, BALL)
NET = ls.from_network(lambda w, x, y: w * x - y, 1.0, np.ones(3), np.ones(3))
TIMES, LEFT = np.ones(9), np.ones(9, bool)


def squared(params: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.sum((params - x) ** 2)


def loss(x: jax.Array) -> jax.Array:
    return jnp.sum(x * x)


def right() -> None:
    ls.Ball(radius=1.0, center=jnp.zeros(2))  # right
    ls.Ball(radius=1, center=[0.0, 0.0])  # right
    ls.Ball(radius=np.float32(1.0), center=np.zeros(2))  # right
    ls.Ball(radius=jnp.asarray(1.0), center=(0, 0))  # right
    ls.Ball(radius=np.asarray(2.0), center=[jnp.asarray(0.0), np.float64(1.0)])  # right
    ls.Box(lower=-jnp.ones(2), upper=jnp.ones(2))  # right
    ls.Box(lower=[-1.0, -np.inf], upper=[1.0, np.inf])  # right
    ls.Ellipsoid(center=[0.0, 0.0], radii=[1.0, 2.0])  # right
    ls.HalfSpaces(normals=[[1.0, 0.0]], offsets=[1.0])  # right
    ls.Sublevel(WELL, height=0.5)  # right
    ls.Predicate(lambda x: jnp.sum(x) < 1, dim=2)  # right
    ls.ExitSets(BALL, ls.Box(lower=[-1.0, -1.0], upper=[1.0, 1.0]), names=["ball", "box"])  # right
    ls.Quadratic(hessian=[[1.0, 0.3], [0.3, 2.0]], minimum=[0.0, 1.0])  # right
    ls.DoubleWell(barrier=2, dim=np.int64(2))  # right
    ls.from_function(loss, dim=2, minimum=jnp.zeros(2))  # right
    ls.from_function(lambda x: x @ x, dim=2, minimum=[0, 0])  # right
    ls.StableComponents(1.5)  # right
    ls.StableComponents(alpha=2, exact_sampler=True)  # right
    ls.StableIsotropic(jnp.float32(1.2))  # right
    ls.SkewedComponents(1.5, skewness=[0.5, -0.5], parameterization="S0")  # right
    ls.StudentT(df=3.0, dt=0.1)  # right
    noise.levy_constant(STABLE.alpha)  # right
    noise.total_tail(ls.StableIsotropic(1.5), dim=3)  # right
    noise.as_scale(0.5, 2)  # right
    ls.SGD(WELL, STABLE, epsilon=0.1)  # right
    ls.SGD(WELL, STABLE, learning_rate=np.float32(1e-3), scale=2)  # right
    ls.SGD(WELL, STABLE, epsilon=jnp.asarray(0.1), scale=[1.0, 2.0])  # right
    ls.SGD(WELL, ls.Brownian(), epsilon=1, scale=np.eye(2), convention="ito")  # right
    ls.SGD(landscape=WELL, driver=STABLE, epsilon=0.1, learning_rate=None, scale=None)  # right
    ls.Momentum(WELL, STABLE, learning_rate=0.1, momentum=0.9)  # right
    ls.Adam(WELL, STABLE, epsilon=0.1, rates=(5.0, 0.5), square="noise")  # right
    ls.Langevin(WELL, diffusion=[0.1, 0.2])  # right
    ls.Langevin(WELL, diffusion=np.eye(2, dtype=np.float32))  # right
    ls.EulerMaruyama(dynamics=FLOW, dt=np.float64(0.01))  # right
    ls.OptimizerKernel(optax.sgd(0.1), WELL, driver=ls.Brownian(), scale=0.5)  # right
    ls.OptimizerKernel("adam", WELL, driver=STABLE, hyperparameters={"learning_rate": 0.1})  # right
    # right
    ls.OptimizerKernel(optax.adam, WELL, driver=STABLE, hyperparameters={"learning_rate": 0.1})
    ls.simulate_escape(KERNEL, BALL, jnp.zeros(2), num=4, seed=0, max_steps=8)  # right
    # right
    ls.simulate_escape(KERNEL, BALL, [0.0, 0.0], num=np.int64(4), seed=np.int64(1), max_time=0.1)
    # right
    ls.simulate_escape(KERNEL, BALL, np.zeros((4, 2)), num=4, seed=2**64 - 1, lanes=16, chunk=4)
    ls.simulate_escape(KERNEL, BALL, (0, 0), num=4, seed=0, record="times", devices=1)  # right
    # right
    ls.simulate_escape(KERNEL, BALL, (0, 0), num=4, seed=0, progress=lambda done, total: None)
    ls.simulate_escape(KERNEL, BALL, (0, 0), num=4, seed=0, shard=(0, 2), throw=False)  # right
    ls.simulate_escape(KERNEL, BALL, (0, 0), num=4, seed=0, shard="0/2")  # right
    ls.simulate_escape(KERNEL, BALL, (0, 0), num=4, seed=0, checkpoint=Path("run.npz"))  # right
    ls.simulate_paths(KERNEL, [0.0, 0.0], num=2, seed=0, times=[0.1, 0.2])  # right
    # right
    ls.simulate_paths(KERNEL, [0.0, 0.0], ids=[0, 7], seed=0, every=10, max_steps=100, domain=BALL)
    ls.escape_law(FLOW, BALL, seed=1, check=False)  # right
    ls.compare(RUN, LAW, confidence=0.9)  # right
    ls.compare(RUN, RUN)  # right
    theory.kramers_law(WELL, saddles=[1.0, 0.0], diffusion=0.1, escape="saddle")  # right
    theory.first_passage(lambda x: -x, diffusion=0.1, start=0.0, lower=-1, upper=1)  # right
    theory.kesten_index(dim=3, learning_rate=0.1, batch_size=2)  # right
    stats.mean_time(TIMES, LEFT)  # right
    stats.mean_time([1.0, 2.0, 3.0], exited=[True, True, False], confidence=0.9)  # right
    stats.hill(TIMES, k=3)  # right
    stats.block_bootstrap(np.median, TIMES, block=2, kind="moving")  # right
    plots.survival(RUN, LAW, artist={"color": "red"})  # right
    sweeps.run_sweep("sweep.toml", Path("out"), progress=True)  # right
    analysis.exit_directions(RUN, WELL)  # right
    networks.train(NET, optax.sgd(optax.constant_schedule(0.1)), batch_size=2)  # right
    networks.train(NET, "adam", learning_rate=0.01)  # right
    networks.refine(NET, {"w": np.ones(2)})  # right
    networks.track(squared, [np.ones(2)], np.ones(3), batch_size=1, iterations=[0])  # right


def wrong() -> None:
    ls.Ball(radius="one", center=jnp.zeros(2))  # wrong
    ls.Ball(radius=1.0, center="origin")  # wrong
    ls.Ball(radius=1.0, center=None)  # wrong
    ls.Ball(radius=1.0)  # wrong
    ls.Ball(radus=1.0, center=jnp.zeros(2))  # wrong
    ls.Ball(1.0, jnp.zeros(2))  # wrong
    ls.Ball(radius=1 + 2j, center=[0.0, 0.0])  # wrong
    ls.Ball(radius=[1.0, 2.0], center=[0.0, 0.0])  # wrong
    ls.Box(lower={"a": 1}, upper=[1.0])  # wrong
    ls.Box(lower=["a"], upper=[1.0])  # wrong
    ls.Ellipsoid(center=[0.0, 0.0], radii={1.0, 2.0})  # wrong
    ls.HalfSpaces(normals=BALL, offsets=[1.0])  # wrong
    ls.Sublevel(0.5, WELL)  # wrong
    ls.Sublevel(WELL, height="0.5")  # wrong
    ls.Predicate(3, dim=2)  # wrong
    ls.ExitSets(BALL, 1)  # wrong
    ls.Quadratic(hessian="identity")  # wrong
    ls.Quadratic(hessian=jnp.eye(2), minimum=WELL)  # wrong
    ls.DoubleWell(dim=2.0)  # wrong
    ls.from_function(loss, dim="2", minimum=jnp.zeros(2))  # wrong
    ls.from_function(jnp.zeros(2), dim=2, minimum=jnp.zeros(2))  # wrong
    ls.StableComponents("1.5")  # wrong
    ls.StableComponents(1.5, exact_sampler="yes")  # wrong
    ls.StableComponents(alfa=1.5)  # wrong
    ls.StableIsotropic(None)  # wrong
    ls.SkewedComponents(1.5, skewness=0.5, parameterization="S2")  # wrong
    ls.StudentT(3.0, df=3.0)  # wrong
    noise.levy_constant([1.5])  # wrong
    noise.total_tail(ls.Brownian(), 2)  # wrong
    noise.total_tail(STABLE, 2.0)  # wrong
    ls.SGD(STABLE, WELL, epsilon=0.1)  # wrong
    ls.SGD(WELL, 1.5, epsilon=0.1)  # wrong
    ls.SGD(WELL, STABLE, epsilon="small")  # wrong
    ls.SGD(WELL, STABLE, eps=0.1)  # wrong
    ls.SGD(WELL, STABLE, epsilon=0.1, scale="identity")  # wrong
    ls.SGD(WELL, STABLE, epsilon=0.1, convention="stratonovich")  # wrong
    ls.SGD(lambda x: x @ x, STABLE, epsilon=0.1)  # wrong
    ls.Momentum(WELL, STABLE, learning_rate=0.1, momentum="0.9")  # wrong
    ls.Adam(WELL, STABLE, epsilon=0.1, square="variance")  # wrong
    ls.Langevin(WELL, diffusion=None)  # wrong
    ls.EulerMaruyama(WELL, dt=0.01)  # wrong
    ls.EulerMaruyama(FLOW, dt="0.01")  # wrong
    ls.EulerMaruyama(FLOW, step=0.01)  # wrong
    ls.OptimizerKernel(0.1, WELL)  # wrong
    ls.OptimizerKernel(optax.sgd(0.1), WELL, driver=0.5)  # wrong
    networks.train(NET, "rmsprop")  # wrong
    networks.train(NET, optax.sgd)  # wrong
    networks.train(NET, "sgd", 0.1)  # wrong
    networks.track(squared, {"w": 1.0}, np.ones(3))  # wrong
    networks.track(squared, [np.ones(2)], np.ones(3), batch_size=1, steps=[0])  # wrong
    plots.track(RUN)  # wrong
    ls.simulate_escape(FLOW, BALL, jnp.zeros(2), num=4, seed=0)  # wrong
    ls.simulate_escape(KERNEL, KERNEL, jnp.zeros(2), num=4, seed=0)  # wrong
    ls.simulate_escape(KERNEL, BALL, jnp.zeros(2), num=4.0, seed=0)  # wrong
    ls.simulate_escape(KERNEL, BALL, jnp.zeros(2), num=4)  # wrong
    ls.simulate_escape(KERNEL, BALL, jnp.zeros(2), num=4, seed=0, record="all")  # wrong
    ls.simulate_escape(KERNEL, BALL, jnp.zeros(2), num=4, seed=0, progress="bar")  # wrong
    ls.simulate_paths(KERNEL, jnp.zeros(2), num=2, seed="0", times=[0.1])  # wrong
    ls.escape_law(KERNEL, BALL)  # wrong
    ls.escape_law(BALL, FLOW)  # wrong
    ls.compare(LAW, RUN)  # wrong
    theory.kramers_law(WELL, saddles=[1.0, 0.0], diffusion=0.1, escape="other")  # wrong
    stats.mean_time(TIMES, exited="all")  # wrong
    stats.hill(TIMES, k=0.1)  # wrong
    plots.survival(LAW, RUN)  # wrong
    sweeps.run_sweep("sweep.toml", 3)  # wrong
