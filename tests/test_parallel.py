"""Runs in several threads and processes give the bits of one; parts and results can be sent there.
That a forked process is refused is in `test_refusals.py`."""

import functools
import multiprocessing
import pickle
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from calls.noise import DRIVERS

import levysde as ls

PAGE = (Path(__file__).parents[1] / "docs" / "howto" / "parallel.md").read_text()
EPSILONS = (0.3, 0.4, 0.5)
INTERVAL = ls.Box(lower=-np.ones(1), upper=np.ones(1))


def dynamics(epsilon: float) -> ls.SGD:
    noise = ls.StableComponents(alpha=1.5)
    return ls.SGD(ls.Quadratic(hessian=np.eye(1)), noise, epsilon=epsilon)


def escapes(epsilon: float) -> ls.EscapeResult:
    kernel = ls.EulerMaruyama(dynamics(epsilon), dt=0.01)
    return ls.simulate_escape(kernel, INTERVAL, np.zeros(1), num=50, seed=1)


def everything(task: int) -> list[np.ndarray]:
    """A run, a law, a comparison and paths, whose programs differ with `task`."""
    dim, moved = 1 + task % 2, dynamics(EPSILONS[task % 3])
    if dim == 2:
        noise = ls.StableIsotropic(alpha=1.3)
        moved = ls.SGD(ls.Quadratic(hessian=np.eye(2)), noise, epsilon=EPSILONS[task % 3])
    ball = ls.Ball(radius=1.0, center=np.zeros(dim))
    kernel = ls.EulerMaruyama(moved, dt=0.01)
    result = ls.simulate_escape(kernel, ball, np.zeros(dim), num=50, seed=task)
    law = ls.escape_law(moved, ball, check=False)
    paths = ls.sample_paths(kernel, jnp.zeros(dim), seed=task, num_steps=20)
    numbers = (result.time, result.first_outside, law.rate, ls.compare(result, law).ratio.value)
    return [np.asarray(leaf) for leaf in (*numbers, *jax.tree.leaves(paths))]


@pytest.mark.slow
def test_threads_that_compile_at_once_give_the_bits_of_one():
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(everything, range(6)))
    for task, numbers in enumerate(together):
        for here, alone in zip(numbers, everything(task), strict=True):
            np.testing.assert_array_equal(here, alone)


def test_threads_share_the_engine():
    alone = [escapes(epsilon) for epsilon in EPSILONS]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(escapes, EPSILONS)) == alone


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_new_processes_give_the_bits_of_one(method, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    with multiprocessing.get_context(method).Pool(2) as pool:
        times = [run.time for run in pool.map_async(escapes, EPSILONS).get(timeout=300)]
    np.testing.assert_array_equal(times, [escapes(epsilon).time for epsilon in EPSILONS])


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
def test_joblib_gives_the_bits_of_one(backend, monkeypatch):
    joblib = pytest.importorskip("joblib")
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    runs = joblib.Parallel(n_jobs=2, backend=backend)(
        joblib.delayed(functools.partial(escapes))(epsilon) for epsilon in EPSILONS
    )
    for run, epsilon in zip(runs, EPSILONS, strict=True):
        np.testing.assert_array_equal(run.time, escapes(epsilon).time)


def test_parts_and_laws_can_be_sent():
    law = ls.escape_law(dynamics(0.3), INTERVAL, check=False)
    assert pickle.loads(pickle.dumps(law)) == law
    kernel = ls.EulerMaruyama(dynamics(0.3), dt=0.01)
    for part in (kernel, INTERVAL, ls.Sublevel(ls.DoubleWell(), height=0.1)):
        copy = pickle.loads(pickle.dumps(part))
        assert repr(copy) == repr(part)
        assert jax.tree.structure(copy) == jax.tree.structure(part)
        for new, old in zip(jax.tree.leaves(copy), jax.tree.leaves(part), strict=True):
            np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("name", sorted(DRIVERS))
def test_the_jumps_of_a_driver_can_be_sent(name):
    make, dim, _ = DRIVERS[name]
    try:
        rays = make().levy_rays(dim, 16, 0)
    except (ValueError, TypeError) as error:
        pytest.skip(f"has none: {error}")
    copy, i = pickle.loads(pickle.dumps(rays)), np.arange(len(rays.weights))
    for r in (0.1, 1.0, 7.0):
        radii = np.full(len(i), r)
        np.testing.assert_array_equal(copy.tail(radii, i), rays.tail(radii, i))


def test_a_lambda_needs_cloudpickle():
    cloudpickle = pytest.importorskip("cloudpickle")
    free = ls.SDE(lambda x: -x, ls.Brownian(), dim=1)
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(free)
    copy = pickle.loads(cloudpickle.dumps(free))
    assert copy.drift(jnp.ones(1)) == free.drift(jnp.ones(1))


def test_the_programs_of_the_page_are_python():
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        if ">>>" not in code:
            compile(code, "parallel.md", "exec")
