"""The engine: results do not depend on the layout, nothing finished is lost, bad input is refused
in time."""

import gc
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import pytest

import levysde as ls
from levysde.escape import worker

FIELDS = ("time", "exited", "label", "last_inside", "first_outside", "steps", "status")


def kernel(epsilon=0.5, alpha=1.5, dt=0.01, hessian=(1.0, 4.0)):
    well = ls.Quadratic(hessian=jnp.diag(jnp.array(hessian)))
    return ls.EulerMaruyama(ls.SGD(well, ls.StableComponents(alpha=alpha), epsilon=epsilon), dt=dt)


def ball(dim=2, radius=1.0):
    return ls.Ball(radius=radius, center=jnp.zeros(dim))


def assert_same(first, second):
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field), err_msg=field)


@pytest.fixture(scope="module")
def reference():
    return ls.simulate_escape(
        kernel(),
        ball(),
        jnp.zeros(2),
        num=1500,
        seed=7,
        max_time=3.0,
        lanes=64,
        chunk=32,
        devices=1,
    )


@pytest.mark.slow_cases("1000-32-1", "256-32-1")
@pytest.mark.parametrize("devices", [1, 2, 4])
@pytest.mark.parametrize(
    ("lanes", "chunk"),
    [(16, 32), (16, 256), (64, 256), (256, 32), (256, 256), (1000, 32), (1000, 256)],
)
def test_layout_does_not_change_a_bit(reference, lanes, chunk, devices):
    run = ls.simulate_escape(
        kernel(),
        ball(),
        jnp.zeros(2),
        num=1500,
        seed=7,
        max_time=3.0,
        lanes=lanes,
        chunk=chunk,
        devices=devices,
    )
    assert run.info.workers == devices
    assert lanes <= run.info.lanes < lanes + 64
    assert 0 < run.count(ls.Status.CENSORED) < run.num  # both kinds of ending are compared
    assert_same(run, reference)


def test_a_narrower_block_for_the_last_trajectories_does_not_change_a_bit(reference, monkeypatch):
    """A short run never narrows, since that would compile a second program."""
    widths, call = [], worker.Worker.call
    monkeypatch.setattr(
        worker.Worker, "call", lambda self, *given: widths.append(self.width) or call(self, *given)
    )
    run = {"num": 1500, "seed": 7, "max_time": 3.0, "lanes": 64, "chunk": 32, "devices": 1}
    monkeypatch.setattr(worker, "_compiled", {})
    monkeypatch.setattr(worker, "_NARROWING", np.inf)
    assert_same(ls.simulate_escape(kernel(), ball(), jnp.zeros(2), **run), reference)
    assert set(widths) == {64}
    monkeypatch.setattr(worker, "_NARROWING", 0.0)
    assert_same(ls.simulate_escape(kernel(), ball(), jnp.zeros(2), **run), reference)
    assert set(widths) == {64, 16}


@pytest.mark.slow
def test_adaptive_layout_and_adam():
    well = ls.Quadratic(hessian=jnp.array([[1.0, 0.3], [0.3, 2.0]]))
    adam = ls.Adam(
        well,
        ls.StableIsotropic(alpha=1.3),
        epsilon=0.3,
        rates=(10.0, 1.0),
        gradient_variance=jnp.array([1.0, 2.0]),
    )
    stepper = ls.EulerMaruyama(adam, dt=0.02)
    runs = [
        ls.simulate_escape(
            stepper,
            ls.Sublevel(well, height=1.0),
            jnp.zeros(2),
            num=600,
            seed=1,
            lanes=lanes,
            devices=devices,
        )
        for lanes, devices in ((None, None), (16, 1), (80, 3))
    ]
    assert_same(runs[0], runs[1])
    assert_same(runs[0], runs[2])


def test_rows_tell_one_story(reference):
    inside = np.linalg.norm(reference.last_inside, axis=1) < 1
    assert inside.all()
    assert (np.linalg.norm(reference.first_outside[reference.exited], axis=1) >= 1).all()
    assert np.isnan(reference.first_outside[~reference.exited]).all()
    np.testing.assert_array_equal(reference.label, reference.exited.astype(int))
    np.testing.assert_allclose(reference.time, reference.steps * 0.01, rtol=1e-6)
    assert (reference.steps[~reference.exited] == 300).all()
    assert reference.info.live_steps == reference.steps.sum()


def test_a_trajectory_is_a_pure_function_of_seed_and_id(reference):
    """Replay some trajectories one at a time, without the engine."""
    from levysde.random import split_uint64, step_words, trajectory_key

    stepper = kernel()

    @jax.jit
    def step(key, steps, x):
        return stepper.step(step_words(key, steps[None], stepper.words_per_step)[:, 0], x)

    for trajectory in (0, 3, 1499):
        key = trajectory_key(
            jnp.asarray(split_uint64(7)), jnp.asarray(split_uint64(np.array([trajectory])))
        )
        x, steps = jnp.zeros(2), 0
        while steps < 300 and float(jnp.sum(x * x)) < 1:
            x, steps = step(key, jnp.uint32(steps), x), steps + 1
        assert steps == reference.steps[trajectory]
        last = reference.first_outside if reference.exited[trajectory] else reference.last_inside
        np.testing.assert_allclose(x, last[trajectory], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_driver_whose_words_depend_on_its_numbers_runs():
    """The jumps of a compound Poisson process are looked at to count their words, which wants
    numbers and not their shapes."""
    poisson = ls.CompoundPoisson(2.0, ls.GaussianJump(1.0, dim=2))
    stepper = ls.EulerMaruyama(
        ls.SGD(ls.Quadratic(hessian=jnp.eye(2)), poisson, epsilon=1.0), dt=0.01
    )
    run = ls.simulate_escape(stepper, ball(), jnp.zeros(2), num=64, seed=0)
    assert run.exited.all()


@pytest.mark.slow
def test_more_trajectories_extend_a_run(reference):
    more = ls.simulate_escape(kernel(), ball(), jnp.zeros(2), num=2000, seed=7, max_time=3.0)
    np.testing.assert_array_equal(more.steps[:1500], reference.steps)
    other = ls.simulate_escape(
        kernel(), ball(), jnp.zeros(2), num=1500, seed=7 + 2**32, max_time=3.0
    )
    assert not np.array_equal(other.steps, reference.steps)


@pytest.mark.slow
def test_one_start_a_trajectory():
    starts = np.random.default_rng(0).uniform(-0.5, 0.5, (300, 2))
    run = ls.simulate_escape(kernel(), ball(), starts, num=300, seed=0, max_steps=1)
    still = run.last_inside[~run.exited]
    moved = np.abs(still - starts[~run.exited]).max(axis=1)
    assert np.median(moved) < 0.1
    assert len(still) > 250


def test_zero_noise_equals_gradient_descent():
    quiet = kernel(epsilon=1e-30, dt=0.1)
    run = ls.simulate_escape(quiet, ball(), jnp.array([0.5, -0.5]), num=16, seed=0, max_steps=10)
    expected = np.array([0.5, -0.5]) * (1 - 0.1 * np.array([1.0, 4.0])) ** 10
    np.testing.assert_allclose(run.last_inside, np.broadcast_to(expected, (16, 2)), rtol=1e-5)
    assert not run.exited.any()


def test_max_steps_exit_on_the_last_step_is_an_exit():
    long = ls.simulate_escape(kernel(), ball(), jnp.zeros(2), num=500, seed=3)
    cut = int(np.median(long.steps))
    short = ls.simulate_escape(kernel(), ball(), jnp.zeros(2), num=500, seed=3, max_steps=cut)
    np.testing.assert_array_equal(short.exited, long.steps <= cut)
    np.testing.assert_array_equal(short.steps, np.minimum(long.steps, cut))


def test_sweeping_numbers_compiles_nothing():
    from levysde.escape.worker import compiled_advance

    advance = compiled_advance("cpu", fused=False)
    run = {"num": 64, "seed": 0, "max_steps": 50, "lanes": 64, "devices": 1}
    ls.simulate_escape(kernel(), ball(), jnp.zeros(2), **run)
    before = advance._cache_size()
    for epsilon, alpha, dt, radius in (
        (0.1, 1.2, 0.02, 1.1),
        (0.3, 0.7, 0.005, 0.9),
        (0.2, 1.95, 0.01, 2.0),
    ):
        ls.simulate_escape(kernel(epsilon, alpha, dt), ball(radius=radius), jnp.zeros(2), **run)
    assert advance._cache_size() == before


def test_compiled_once_for_all_block_sizes():
    """A draining run compiles each block size once, however often it is repeated."""
    run = {"num": 600, "seed": 0, "lanes": 256, "devices": 2}
    ls.simulate_escape(kernel(), ball(), jnp.zeros(2), **run)
    again = ls.simulate_escape(kernel(), ball(), jnp.zeros(2), **{**run, "seed": 1})
    assert again.info.compile_seconds == 0


@pytest.mark.slow
def test_nan_is_told_apart_from_an_exit():
    def fn(x):
        return jnp.sum(x * x) * jnp.where(x[0] > 0.3, jnp.nan, 1.0)

    well = ls.from_function(fn, dim=1, minimum=jnp.zeros(1))
    stepper = ls.EulerMaruyama(ls.SGD(well, ls.StableComponents(alpha=1.8), epsilon=0.5), dt=0.01)
    arguments = (stepper, ls.Ball(radius=1.0, center=jnp.zeros(1)), jnp.zeros(1))
    with pytest.raises(ls.NonFiniteError, match=r"became NaN.*smaller dt") as caught:
        ls.simulate_escape(*arguments, num=100, seed=0)
    result = caught.value.result
    assert 0 < result.count(ls.Status.NONFINITE) < 100
    assert result.count(ls.Status.NONFINITE) + result.count(ls.Status.EXITED) == 100
    assert not result.exited[result.status == ls.Status.NONFINITE].any()
    kept = ls.simulate_escape(*arguments, num=100, seed=0, throw=False)
    assert_same(kept, result)
    # a loss that is NaN at a finite point outside the basin is outside, not a failure
    outside = ls.simulate_escape(
        stepper, ls.Sublevel(well, height=0.05), jnp.zeros(1), num=100, seed=0
    )
    assert outside.exited.all()


def test_beyond_the_float_range_is_still_an_exit():
    run = ls.simulate_escape(
        kernel(alpha=0.05, epsilon=1.0), ball(), jnp.zeros(2), num=2000, seed=0
    )
    assert run.exited.all()
    assert np.isfinite(run.first_outside).all()


SCRIPT = """
    import signal
    import sys
    import jax.numpy as jnp
    import numpy as np
    import levysde as ls

    well = ls.Quadratic(hessian=jnp.eye(2))
    kernel = ls.EulerMaruyama(ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=0.1), dt=1e-3)
    ball = ls.Ball(radius=1.0, center=jnp.zeros(2))
    path = sys.argv[1]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs deaf
    print("go", flush=True)
    try:
        run = ls.simulate_escape(kernel, ball, jnp.zeros(2), num=int(sys.argv[2]), seed=5,
                                 checkpoint=ls.Checkpoint(path, checkpoint_every=0.1))
    except ls.Interrupted as stop:
        print("interrupted", stop.result.count(ls.Status.EXITED), flush=True)
        raise SystemExit(130)
    print("finished", run.num)
"""


def start_script(tmp_path, path, num):
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, str(script), str(path), str(num)]
    # seven start-ups compile once
    cache = {"JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir}
    environment = {
        **os.environ,
        **cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PLATFORMS": "cpu",
    }
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline() == "go\n"
    return process


def job(num, **more):
    well = ls.Quadratic(hessian=jnp.eye(2))
    stepper = ls.EulerMaruyama(ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=0.1), dt=1e-3)
    return ls.simulate_escape(stepper, ball(), jnp.zeros(2), num=num, seed=5, **more)


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed(tmp_path):
    """SIGKILL at 4 random moments; what is resumed in the end equals an undisturbed run in every
    bit."""
    num, path = 24_000, tmp_path / "run.npz"
    moments = random.Random(0)
    for _ in range(4):
        process = start_script(tmp_path, path, num)
        before, deadline = saved_at(path), time.monotonic() + 60
        while saved_at(path) == before and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.3))  # some of these fall into a save
        assert process.poll() is None, "the run ended before it could be killed: give it more to do"
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert 0 < exits_in(path) < num
    assert_same(job(num, checkpoint=path), job(num))


def saved_at(path):
    return path.stat().st_mtime_ns if path.exists() else 0


def exits_in(path):
    if not path.exists():
        return 0
    with np.load(path) as file:
        return int((file["row_status"] == ls.Status.EXITED).sum())


@pytest.mark.slow
def test_runs_leave_nothing_behind(tmp_path):
    """Arrays, threads and open files are as many after the seventh run as after the third; each run
    has its own seed."""

    def left() -> tuple[int, int, int]:
        gc.collect()
        return len(jax.live_arrays()), threading.active_count(), psutil.Process().num_fds()

    counts = []
    for seed in range(7):
        saved = ls.Checkpoint(tmp_path / f"{seed}.npz", checkpoint_every=0.01)
        ls.simulate_escape(
            kernel(), ball(), jnp.zeros(2), num=300, seed=seed, devices=2, checkpoint=saved
        )
        counts.append(left())
    assert counts[6] == counts[2]


@pytest.mark.slow
def test_ctrl_c_keeps_rows_and_is_prompt(tmp_path):
    path = tmp_path / "run.npz"
    process = start_script(tmp_path, path, 300_000)
    deadline = time.monotonic() + 120
    while not exits_in(path) and time.monotonic() < deadline:
        time.sleep(0.1)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    try:
        out, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    seconds = time.monotonic() - start
    assert process.returncode == 130
    kept = int(out.split()[-1])
    assert kept > 0
    assert seconds < 10  # prompt is 2 s on an idle machine; the benchmark measures it
    assert exits_in(path) == kept


def test_a_finished_checkpoint_answers_at_once(tmp_path):
    path = tmp_path / "run.npz"
    first = job(500, checkpoint=path)
    again = job(500, checkpoint=path)
    assert again.info.lane_steps == 0
    assert_same(first, again)


def test_times_alone_are_the_same_times(reference):
    run = ls.simulate_escape(
        kernel(), ball(), jnp.zeros(2), num=1500, seed=7, max_time=3.0, record="times"
    )
    for name in ("time", "exited", "label", "steps", "status"):
        np.testing.assert_array_equal(getattr(run, name), getattr(reference, name))
    assert run.last_inside.shape == run.first_outside.shape == (1500, 0)
    with pytest.raises(ValueError, match="kept no places"):
        ls.exit_directions(run, ls.Quadratic(hessian=jnp.eye(2)))
    with pytest.raises(ValueError, match='record must be "places" or "times", not "all"'):
        ls.simulate_escape(
            kernel(), ball(), jnp.zeros(2), num=10, seed=7, max_time=3.0, record="all"
        )


def test_arrays_that_kernel_and_domain_share_go_in_once():
    from levysde.escape.block import Problem

    stepper = kernel()
    domain = ls.Sublevel(stepper.dynamics.landscape, height=1.0)
    problem = Problem(stepper, domain)
    every = jax.tree.leaves((stepper, domain))
    assert len(problem.leaves) == len(every) - 2  # the Hessian and the minimum
    for mine, theirs in zip(jax.tree.leaves(problem.parts()), every, strict=True):
        assert mine is theirs
    other = Problem(kernel(epsilon=0.1), ls.Sublevel(kernel().dynamics.landscape, height=2.0))
    assert len(other.leaves) == len(every)


def test_lanes_are_refilled_within_a_call():
    """Lives of 30 steps: a call of the compiled part sees far more trajectories than lanes, and
    none twice."""
    fast = ls.EulerMaruyama(
        ls.SGD(ls.Quadratic(hessian=jnp.eye(2)), ls.StableComponents(alpha=1.5), epsilon=1.0),
        dt=0.02,
    )
    runs = [
        ls.simulate_escape(
            fast,
            ball(),
            jnp.zeros(2),
            num=50_000,
            seed=3,
            lanes=lanes,
            chunk=chunk,
            devices=devices,
        )
        for lanes, chunk, devices in ((256, 16, 1), (64, None, 2), (16, 1, 3))
    ]
    assert runs[0].exited.all()
    assert runs[0].steps.min() >= 1
    assert runs[2].info.useful_work > 0.95  # a lane waits for half a step
    for other in runs[1:]:
        assert_same(runs[0], other)


@pytest.mark.slow
def test_only_the_exit_test_of_the_steps_ends_a_lane():
    """Another program may round the same test otherwise: a lane on the edge must neither stay for
    ever nor end early."""
    from levysde.escape.block import (
        Limits,
        Problem,
        advance,
        advance_stack,
        empty_queue,
        empty_stack,
    )

    stepper, domain = kernel(), ball()
    stack = empty_stack(stepper, 2, 16, np.float32)
    queue = empty_queue(np.zeros(2, np.float32), 200)
    queue.key[:] = np.arange(400, dtype=np.uint32).reshape(2, 200)
    queue = queue._replace(count=np.int32(200))

    def shifted(radius):
        def other(problem, block, limit, count):
            return advance((problem[0], ball(radius=radius)), block, limit, count)

        return jax.jit(lambda *parts: advance_stack(*parts, advance=other))

    limits = Limits(np.uint32(100_000), np.int32(32), np.int32(10_000), np.int32(2), np.int32(0))
    for radius in (0.9, 1.1):  # the steps' test is the stricter, or the laxer, of the two
        _, records, taken, rounds = shifted(radius)(Problem(stepper, domain), stack, queue, limits)
        assert taken == 200
        assert rounds < 10_000
        # after the slots of the lanes
        records = jax.tree.map(lambda leaf: np.asarray(leaf)[32:], records)
        assert (records.standing == 1).all()
        assert (np.linalg.norm(records.position, axis=1) >= radius * (1 - 1e-6)).all()
        assert (np.linalg.norm(records.before, axis=1) <= radius * (1 + 1e-6)).all()


def test_a_checkpoint_may_leave_nothing_of_a_finished_run_and_tell_of_each_save(tmp_path):
    path, told = tmp_path / "run.npz", []
    job(200, checkpoint=ls.Checkpoint(path, final=False, on_save=told.append))
    assert not path.exists()
    assert not told
    job(200, checkpoint=ls.Checkpoint(path, on_save=told.append))
    assert told == [path]


def test_progress_is_told_to_a_function():
    told = []
    job(200, progress=lambda finished, of: told.append((finished, of)))
    assert told[-1] == (200, 200)
    assert [finished for finished, _ in told] == sorted({finished for finished, _ in told})


def test_checkpoints_of_other_runs_are_refused(tmp_path):
    path = tmp_path / "run.npz"
    job(200, checkpoint=path)
    arguments = (kernel(), ball(), jnp.zeros(2))
    with pytest.raises(ValueError, match="another seed: 5 in the file, 6 asked for"):
        ls.simulate_escape(*arguments, num=200, seed=6, checkpoint=path)
    with pytest.raises(ValueError, match="another run"):
        ls.simulate_escape(*arguments, num=200, seed=5, checkpoint=path)
    with pytest.raises(ValueError, match="another num"):
        job(201, checkpoint=path)
    with pytest.raises(ValueError, match="another record: 'places' in the file, 'times' asked for"):
        job(200, checkpoint=path, record="times")
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    for content in (bytes(damaged), path.read_bytes()[:1000], b"", b"hello"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"damaged.*Delete"):
            job(200, checkpoint=path)
        assert path.read_bytes() == content  # refusing destroys nothing
