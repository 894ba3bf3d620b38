"""Sweeps that are run: what the store holds, that interruptions lose nothing and change no bit, and
what is refused."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from sweeping import SPEC, data_files, long_spec, spec, start
from typer.testing import CliRunner

import levysde as ls
from levysde import cli
from levysde.sweeps import (
    BusyError,
    Place,
    Spec,
    Store,
    StoreError,
    make_plan,
    open_sweep,
    run_sweep,
    sweep_status,
)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A finished sweep of six short points."""
    out = tmp_path_factory.mktemp("sweep") / "small"
    tally = run_sweep(SPEC, out)
    assert (tally.done, tally.failed, tally.skipped) == (6, 0, 0)
    return out


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, bytes]:
    """The data of the long sweep, run without a break."""
    out = tmp_path_factory.mktemp("sweep") / "long"
    run_sweep(long_spec(), out)
    return data_files(out)


def test_xarray_alone_reads_a_labelled_store(small):
    frame = xr.open_zarr(small, chunks=None)
    assert dict(frame.sizes) == {"alpha": 2, "epsilon": 3, "trajectory": 40, "quantity": 16}
    assert frame["done"].values.all()
    assert frame["time"].dims == ("alpha", "epsilon", "trajectory")
    assert (frame["time"].attrs["units"], frame["time"].attrs["long_name"]) == (
        "SDE time",
        "escape or censoring time",
    )
    assert frame["epsilon"].attrs["long_name"] == "dynamics.epsilon"
    assert Spec.model_validate_json(frame.attrs["spec"]).title == "small"
    assert frame.attrs["versions"]["jax"]
    assert frame.attrs["device"]
    assert frame["time"].encoding["chunks"] == (1, 1, 40)
    np.testing.assert_array_equal(
        frame["seed"].values.ravel(), [p.seed for p in make_plan(SPEC).points]
    )


def test_a_point_is_the_run_one_would_make_by_hand(small):
    sweep = open_sweep(small)
    point = sweep.point({"alpha": 1.7, "epsilon": 0.5})
    dynamics = ls.SGD(
        ls.Quadratic(hessian=np.diag([1.0, 4.0])), ls.StableComponents(alpha=1.7), epsilon=0.5
    )
    ball = ls.Ball(radius=1.0, center=np.zeros(2))
    law = ls.escape_law(dynamics, ball, check=False)
    result = ls.simulate_escape(
        ls.EulerMaruyama(dynamics, dt=0.01),
        ball,
        np.zeros(2),
        num=40,
        seed=point.seed,
        max_time=30 * law.mean,
    )
    stored = sweep.result({"alpha": 1.7, "epsilon": 0.5})
    for name in ("time", "exited", "label", "steps", "status"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(result, name))
    by_hand, of_store = ls.compare(result, law), sweep.compare({"alpha": 1.7, "epsilon": 0.5})
    assert of_store == by_hand
    row = sweep.data.sel(alpha=1.7, epsilon=0.5)
    assert float(row["mean_time"]) == by_hand.mean.value
    assert (float(row["ratio_low"]), float(row["ratio_high"])) == (
        by_hand.ratio.low,
        by_hand.ratio.high,
    )
    assert row["ratio"].attrs["long_name"] == "measured over predicted mean"
    assert str(row["warnings"].values).split("\n") == list(by_hand.warnings)


def test_the_same_command_runs_nothing_again(small):
    before = {path: path.stat().st_mtime_ns for path in small.rglob("c/*/*") if path.is_file()}
    assert run_sweep(SPEC, small).skipped == 6
    assert before == {
        path: path.stat().st_mtime_ns for path in small.rglob("c/*/*") if path.is_file()
    }


def test_shards_make_the_same_store(small, tmp_path):
    for i in (2, 0, 1):
        tally = run_sweep(SPEC, tmp_path / "parts", shard=f"{i}/3")
        assert tally.done == 2
    assert data_files(tmp_path / "parts") == data_files(small)


@pytest.mark.slow
def test_shards_that_start_together_lay_out_one_store(small, tmp_path):
    parts = [start(SPEC, str(tmp_path / "parts"), shard=f"{i}/2") for i in range(2)]
    for part in parts:
        output, _ = part.communicate(timeout=300)
        assert part.returncode == 0, output
    assert data_files(tmp_path / "parts") == data_files(small)


@pytest.mark.slow
def test_points_that_differ_only_in_numbers_compile_once(tmp_path, caplog):
    import jax

    table = spec(
        run__dynamics__epsilon=0.31,
        run__num=48,
        grid={"epsilon": [0.4, 0.5, 0.6], "alpha": [1.31, 1.61]},
    )
    run_sweep(table, tmp_path / "first")
    with caplog.at_level("WARNING"), jax.log_compiles():
        run_sweep(
            table | {"seed": 9} | {"grid": {"epsilon": [0.45, 0.55], "alpha": [1.41, 1.51]}},
            tmp_path / "more",
        )
    compiled = [
        record.message for record in caplog.records if record.message.startswith("Compiling ")
    ]
    assert not compiled


def wait_for(condition: Any, seconds: float = 240.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_sweep_goes_on_inside_its_point(undisturbed, tmp_path):
    out = tmp_path / "killed"
    process = start(long_spec(), str(out))
    wait_for(lambda: list(out.glob(".run/checkpoints/1.npz")))  # the second point is under way
    process.send_signal(signal.SIGKILL)
    process.communicate()
    saved = dict(np.load(out / ".run/checkpoints/1.npz"))
    finished = int((saved["row_status"] != 0).sum())
    assert finished + len(saved["flight_ids"]) > 0
    first = {path: path.stat().st_mtime_ns for path in out.glob("*/c/0*")}
    assert first
    tally = run_sweep(long_spec(), out)
    assert (tally.done, tally.skipped) == (2, 1)
    assert first == {path: path.stat().st_mtime_ns for path in out.glob("*/c/0*")}
    assert data_files(out) == undisturbed
    assert not list(out.glob(".run/checkpoints/*"))


@pytest.mark.slow
def test_ctrl_c_keeps_the_point_under_way(undisturbed, tmp_path):
    out = tmp_path / "stopped"
    process = start(long_spec(), str(out))
    wait_for(lambda: list(out.glob(".run/checkpoints/0.npz")))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert "Interrupted" in output
    assert list(out.glob(".run/checkpoints/*.npz"))
    run_sweep(long_spec(), out)
    assert data_files(out) == undisturbed


@pytest.mark.slow
def test_a_damaged_checkpoint_starts_its_point_over(undisturbed, tmp_path):
    out = tmp_path / "damaged"
    (out / ".run/checkpoints").mkdir(parents=True)
    (out / ".run/checkpoints/1.npz").write_bytes(b"half a file")
    run_sweep(long_spec(), out)
    assert data_files(out) == undisturbed


def test_a_second_driver_is_told(tmp_path, small):
    with Place(small).locked((0, 1)), pytest.raises(BusyError, match=f"process {os.getpid()}"):
        run_sweep(SPEC, small)
    with Place(small).locked((0, 2)):
        with pytest.raises(BusyError, match=f"process {os.getpid()}"):
            run_sweep(SPEC, small, shard="0/2")
        with pytest.raises(BusyError, match="other shards"):
            run_sweep(SPEC, small)
        assert run_sweep(SPEC, small, shard="1/2").skipped == 3


NAN = spec(
    run__landscape={"name": "sometimes_nan:bowl", "edge": 0.5},
    grid={"edge": [0.5, 9.0], "epsilon": [0.3, 0.4]},
)
NAN["run"]["domain"]["center"] = [0.0, 0.0]


@pytest.fixture
def nan_folder(tmp_path) -> Path:
    """A loss whose gradient is NaN beyond an edge."""
    (tmp_path / "sometimes_nan.py").write_text(
        "import jax.numpy as jnp\nimport levysde as ls\n\n"
        "def bowl(edge):\n"
        "    def loss(x):\n"
        "        return -jnp.sqrt(edge**2 - jnp.sum(x**2))\n"
        "    return ls.from_function(loss, dim=2, minimum=jnp.zeros(2))\n"
    )
    return tmp_path


@pytest.mark.slow
def test_a_failing_point_is_recorded_and_stops_no_other(nan_folder):
    out = nan_folder / "out"
    tally = run_sweep(NAN, out, folder=nan_folder)
    assert (tally.done, tally.failed) == (2, 2)
    sweep = open_sweep(out)
    assert list(sweep.failures) == ["edge=0.5/epsilon=0.3", "edge=0.5/epsilon=0.4"]
    assert all("became NaN" in message for message in sweep.failures.values())
    frame = sweep.data
    assert (frame["status"].sel(edge=0.5) == ls.Status.NONFINITE).any()  # its rows are kept
    assert not (frame["status"].sel(edge=9.0) == ls.Status.NONFINITE).any()
    assert "2 failed" in repr(sweep_status(out))
    assert "became NaN" in repr(sweep_status(out))
    again = run_sweep(NAN, out, folder=nan_folder)
    assert (again.done, again.failed, again.skipped) == (0, 0, 4)
    retried = run_sweep(NAN, out, folder=nan_folder, retry_failed=True)
    assert (retried.done, retried.failed, retried.skipped) == (0, 2, 2)


def test_a_point_that_passes_on_retry_is_done(tmp_path, monkeypatch):
    from levysde.sweeps import EscapeRun

    real = EscapeRun.run

    def fails_at_05(self, settings, job):
        if settings.dynamics.arguments["epsilon"] == 0.5:
            raise MemoryError("RESOURCE_EXHAUSTED: out of memory")
        return real(self, settings, job)

    monkeypatch.setattr(EscapeRun, "run", fails_at_05)
    assert run_sweep(SPEC, tmp_path / "out").failed == 2
    assert "out of memory" in open_sweep(tmp_path / "out").failures["alpha=1.3/epsilon=0.5"]
    monkeypatch.setattr(EscapeRun, "run", real)
    assert run_sweep(SPEC, tmp_path / "out", retry_failed=True).done == 2
    assert open_sweep(tmp_path / "out").failures == {}


def test_a_full_disk_stops_the_sweep_and_loses_nothing(small, tmp_path, monkeypatch):
    written = []
    real = Store.write

    def full(self, *arguments, **options):
        written.append(arguments)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        real(self, *arguments, **options)

    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(OSError, match="No space left"):
        run_sweep(SPEC, tmp_path / "out")
    monkeypatch.setattr(Store, "write", real)
    tally = run_sweep(SPEC, tmp_path / "out")
    assert (tally.done, tally.skipped) == (4, 2)
    assert data_files(tmp_path / "out") == data_files(small)


def test_another_spec_is_refused_with_the_difference(small):
    with pytest.raises(
        StoreError,
        match=r"grid\.epsilon: .*0\.7.* in the store, .*0\.9.* in the "
        r"spec",
    ):
        run_sweep(spec(grid__epsilon=[0.3, 0.5, 0.9]), small)
    with pytest.raises(StoreError, match=r"run\.num: 40 in the store, 41 in the spec"):
        run_sweep(spec(run__num=41), small)


def test_what_is_no_store_is_refused(tmp_path, small):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"is no sweep's store \(it holds notes\.txt"):
        run_sweep(SPEC, tmp_path)
    with pytest.raises(StoreError, match="is a file"):
        run_sweep(SPEC, tmp_path / "notes.txt")
    with pytest.raises(StoreError, match="there is no sweep"):
        open_sweep(tmp_path / "nowhere")
    xr.Dataset({"x": 1}).to_zarr(tmp_path / "other.zarr", zarr_format=3, consolidated=False)
    with pytest.raises(StoreError, match="not of a sweep"):
        run_sweep(SPEC, tmp_path / "other.zarr")
    old = tmp_path / "old"
    run_sweep(spec(grid={"alpha": [1.5]}), old)
    head = json.loads((old / "zarr.json").read_text())
    head["attributes"]["levysde_sweep"] = 0
    (old / "zarr.json").write_text(json.dumps(head))
    with pytest.raises(StoreError, match="version 0; this levysde writes version 2"):
        open_sweep(old)


def test_a_grid_larger_than_the_disk_is_refused(tmp_path):
    table = spec(
        run__num=10**9,
        grid={n: {"low": 1.1, "high": 1.9, "num": 10} for n in ("radius", "epsilon")},
    )
    with pytest.raises(StoreError, match=r"100 points take up to .* GB, and .* GB free"):
        run_sweep(table, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_url_without_its_extra_says_what_to_install(monkeypatch, tmp_path):
    import fsspec.core

    def missing(url, **options):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(ImportError, match=r'pip install "levysde\[s3\]"'):
        run_sweep(SPEC, "s3://bucket/x")
    with pytest.raises(ImportError, match=r'pip install "levysde\[gcs\]"'):
        run_sweep(SPEC, "gs://bucket/x")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"engine": "dask"}, "engine must be"),
        ({"shard": "3/3"}, "shard must be"),
        ({"workers": 2}, 'belongs to engine="ray"'),
        ({"engine": "ray", "shard": "0/2"}, "shares the points itself"),
        ({"checkpoint_every": 0}, "checkpoint_every must be positive"),
        ({"out": 3}, "out must be a folder"),
        ({"out": "nonsense://x"}, "no folder and no URL"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_made(arguments, words, tmp_path):
    arguments = {"out": tmp_path / "out"} | arguments
    with pytest.raises(ValueError, match=words):
        run_sweep(SPEC, **arguments)
    assert not (tmp_path / "out").exists()


def test_points_are_found_by_their_values(small):
    sweep = open_sweep(small)
    with pytest.raises(ValueError, match="no points are at"):
        sweep.point({"alpha": 1.9})
    with pytest.raises(ValueError, match="3 points are at"):
        sweep.point({"alpha": 1.3})
    with pytest.raises(ValueError, match="no axis 'beta'"):
        sweep.point({"beta": 1.3})
    with pytest.raises(TypeError, match="must be a dict"):
        sweep.result(1.3)


def test_parquet_holds_a_row_a_point(small, tmp_path):
    import pandas

    open_sweep(small).to_parquet(tmp_path / "points.parquet")
    table = pandas.read_parquet(tmp_path / "points.parquet")
    assert len(table) == 6
    frame = open_sweep(small).data
    np.testing.assert_array_equal(table["mean_time"], frame["mean_time"].values.ravel())
    assert {"alpha", "epsilon", "seed", "ratio_high", "warnings"} <= set(table.columns)


def test_a_coupled_sweep_shares_its_noise(tmp_path):
    run_sweep(spec(coupled=True, grid={"epsilon": [0.5, 0.5000001]}), tmp_path / "out")
    steps = open_sweep(tmp_path / "out").data["steps"].values
    assert (steps[0] == steps[1]).mean() > 0.9


def test_places_are_kept_when_asked_for(tmp_path):
    run_sweep(spec(run__record="places", grid={"alpha": [1.5]}), tmp_path / "out")
    result = open_sweep(tmp_path / "out").result({})
    assert (np.linalg.norm(result.last_inside, axis=1) < 1).all()
    assert (np.linalg.norm(result.first_outside, axis=1) >= 1).all()


@pytest.mark.slow
def test_the_main_job_is_an_experiment_too(tmp_path):
    table = {
        "experiment": "main-job",
        "run": {"landscape": "quadratic", "predicted_steps": 30.0, "num": 64},
        "grid": {"optimizer": ["sgd", "adam"], "alpha": [1.5]},
    }
    assert run_sweep(table, tmp_path / "out").done == 2
    sweep = open_sweep(tmp_path / "out")
    dt = sweep.data["dt"].values
    np.testing.assert_allclose(sweep.data["predicted_mean"].values / dt, 30.0)
    assert sweep.compare({"optimizer": "adam"}).num == 64


@pytest.mark.slow
def test_status_counts_what_is_done_while_it_runs(tmp_path):
    out = tmp_path / "running"
    process = start(long_spec(), str(out))
    try:
        wait_for(lambda: list(out.glob("done/c/0")))
        seen = sweep_status(out)
        assert seen.points == 3
        assert seen.done >= 1
        assert len(seen.drivers) == 1
        assert f"process {process.pid}" in seen.drivers[0]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_the_commands_end_to_end(tmp_path):
    runner = CliRunner()
    (tmp_path / "sweep.toml").write_text(
        'title = "one axis"\n[run]\nlandscape = { name = "DoubleWell" }\n'
        'driver = { name = "StableComponents", alpha = 1.5 }\ndynamics = { name = "SGD", epsilon = '
        "0.4 }\n"
        'domain = { name = "Box", lower = [-2.0], upper = [-0.2] }\nkernel = { name = '
        '"EulerMaruyama", dt = 0.01 }\n'
        "num = 32\nstart = [-1.0]\n[grid]\nepsilon = [0.4, 0.5]\n"
    )
    command = ["sweep", str(tmp_path / "sweep.toml"), "--out", str(tmp_path / "out")]
    dry = runner.invoke(cli.app, [*command, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert "2 points of 'escape'" in dry.output
    assert "trajectory-steps" in dry.output
    assert "by one process here" in dry.output
    assert "  disk  " in dry.output
    assert not (tmp_path / "out").exists()
    run = runner.invoke(cli.app, command)
    assert run.exit_code == 0, run.output
    assert "2 points run, 0 failed" in run.output
    seen = runner.invoke(cli.app, ["status", str(tmp_path / "out")])
    assert "2 of 2 points done" in seen.output
    exported = runner.invoke(
        cli.app, ["export", str(tmp_path / "out"), str(tmp_path / "t.parquet")]
    )
    assert exported.exit_code == 0
    missing = runner.invoke(cli.app, ["status", str(tmp_path / "none")])
    assert missing.exit_code == 2
    assert missing.output.startswith("levysde: there is no sweep")


def test_an_exact_mean_stands_beside_the_law_in_one_dimension(tmp_path):
    table = spec(
        run__landscape={"name": "Quadratic", "hessian": [[1.0]]},
        run__domain={"name": "Ball", "radius": 1.0},
        run__num=400,
        grid={"epsilon": [0.4]},
    )
    run_sweep(table, tmp_path / "out")
    comparison = open_sweep(tmp_path / "out").compare({}, exact=True)
    assert comparison.exact is not None
    assert comparison.exact.value < comparison.reference.value  # the law is late at this noise
