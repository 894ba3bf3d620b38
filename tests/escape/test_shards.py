"""One run on several processes equals the run of one, bit for bit."""

import socket
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import levysde as ls
from levysde.escape import Status

FIELDS = ("time", "exited", "label", "last_inside", "first_outside", "steps", "status")


def run(num=900, **more) -> ls.EscapeResult:
    well = ls.Quadratic(hessian=jnp.eye(2))
    stepper = ls.EulerMaruyama(ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=0.3), dt=0.01)
    ball = ls.Ball(radius=1.0, center=jnp.zeros(2))
    return ls.simulate_escape(stepper, ball, jnp.zeros(2), num=num, seed=11, **more)


def assert_same(a, b) -> None:
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def test_shards_join_to_the_run_of_one_process(tmp_path):
    whole = run()
    parts = [run(shard=f"{i}/3", checkpoint=tmp_path / "run.npz") for i in (2, 0, 1)]
    assert [part.count(Status.EXITED) for part in parts] == [300, 300, 300]
    joined = ls.join_shards(parts)
    assert_same(joined, whole)
    assert joined.info.live_steps == whole.info.live_steps == whole.steps.sum()
    assert len(list(tmp_path.glob("run.npz.*-of-3"))) == 3
    again = run(shard=(1, 3), checkpoint=tmp_path / "run.npz")
    assert again.info.lane_steps == 0
    assert_same(again, parts[2])


WORKER = """
import sys
import jax
jax.config.update("jax_platforms", "cpu")
jax.distributed.initialize(sys.argv[1], num_processes=2, process_id=int(sys.argv[2]))
sys.path.insert(0, sys.argv[3])
import numpy as np
from test_shards import FIELDS, run
result = run(devices=1)
assert jax.process_count() == 2 and result.info.workers == 2
np.savez(sys.argv[4], **{name: getattr(result, name) for name in FIELDS})
"""


@pytest.mark.slow
def test_two_processes_joined_by_jax_distributed(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    folder = str(Path(__file__).parent)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, address, str(i), folder, str(tmp_path / f"{i}.npz")],
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    whole = run()
    for i in range(2):
        with np.load(tmp_path / f"{i}.npz") as file:
            for name in FIELDS:
                np.testing.assert_array_equal(file[name], getattr(whole, name), err_msg=name)


@pytest.mark.parametrize(
    "shard", ["2/2", "1", "a/b", (0,), (1, 1), (-1, 2), (0.0, 2), 3, "0/0", (True, 2)]
)
def test_bad_shards(shard):
    with pytest.raises(ValueError, match="shard must be"):
        run(shard=shard)


def test_shards_of_different_runs_are_refused():
    first, second = run(num=40, shard="0/2"), run(num=40, shard="1/2")
    with pytest.raises(ValueError, match="trajectory 0 is in two of the shards"):
        ls.join_shards([first, second, first])
    with pytest.raises(ValueError, match="different runs: num is 40 in one and 41 in another"):
        ls.join_shards([first, run(num=41, shard="1/2")])
    with pytest.raises(ValueError, match="one kept the places"):
        ls.join_shards([first, run(num=40, shard="1/2", record="times")])
    for bad in ([], first, [first, None]):
        with pytest.raises(TypeError, match="results must be a list of EscapeResult"):
            ls.join_shards(bad)
    alone = ls.join_shards([first])
    assert alone.count(Status.UNFINISHED) == 20
