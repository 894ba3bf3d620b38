"""Sweeps on a Ray cluster and in a bucket: the same data as in one process, and workers and drivers
that are killed."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sweeping import SPEC, data_files, long_spec, start

from levysde.sweeps import BusyError, Place, open_sweep, run_sweep, sweep_status

ray = pytest.importorskip("ray", reason="ray has no wheel for this Python")


def wait_for(condition: Any, seconds: float = 240.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("sweep") / "long"
    run_sweep(long_spec(), out)
    return data_files(out)


def workers_of(process: int) -> list[psutil.Process]:
    """The Ray workers of a driver that are running a point."""
    below = psutil.Process(process).children(recursive=True)
    return [p for p in below if "ray::_run_numbered" in " ".join(p.cmdline())]


@pytest.mark.nightly
def test_ray_makes_the_same_store_although_a_worker_is_killed(undisturbed, tmp_path):
    out = tmp_path / "out"
    process = start(long_spec(), str(out), engine="ray", workers=2)
    try:
        wait_for(lambda: list(out.glob(".run/checkpoints/*")))
        victims = workers_of(process.pid)
        assert len(victims) == 2
        os.kill(victims[0].pid, signal.SIGKILL)
        output, _ = process.communicate(timeout=400)
    finally:
        process.kill()
    assert process.returncode == 0, output
    assert "3 done, 0 failed, 0 skipped" in output
    assert data_files(out) == undisturbed


@pytest.mark.nightly
def test_a_killed_ray_driver_leaves_a_store_that_goes_on(undisturbed, tmp_path):
    out = tmp_path / "out"
    process = start(long_spec(), str(out), engine="ray", workers=2)
    wait_for(lambda: list(out.glob("done/c/*")))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_for(
        lambda: (
            not [
                p
                for p in psutil.process_iter(["cmdline"])
                if "ray::" in " ".join(p.info["cmdline"] or [])
            ]
        )
    )
    tally = run_sweep(long_spec(), out)
    assert tally.skipped >= 1
    assert tally.done + tally.skipped == 3
    assert data_files(out) == undisturbed


@pytest.mark.nightly
@pytest.mark.filterwarnings(
    r"ignore:os.fork\(\) was "
    r"called:RuntimeWarning"
)  # it runs another program at once
def test_a_node_that_goes_leaves_its_points_to_others(undisturbed, tmp_path, monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        first, _ = (cluster.add_node(num_cpus=1) for _ in range(2))
        out = tmp_path / "out"
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        process = start(long_spec(), str(out), engine="ray")
        wait_for(lambda: len(list(out.glob(".run/checkpoints/*.npz"))) == 2)
        cluster.remove_node(first, allow_graceful=False)
        output, _ = process.communicate(timeout=400)
    finally:
        cluster.shutdown()
    assert process.returncode == 0, output
    assert "3 done, 0 failed, 0 skipped" in output
    assert data_files(out) == undisturbed


@pytest.mark.nightly
def test_a_point_that_takes_its_worker_down_has_failed_and_stops_no_other(tmp_path):
    (tmp_path / "deadly.py").write_text(
        "import os, sys\nfrom levysde.sweeps import EscapeRun\n\n"
        "class Deadly(EscapeRun):\n"
        "    name = 'deadly'\n"
        "    def run(self, settings, job):\n"
        "        if settings.dynamics.arguments['epsilon'] == 0.5 and 'worker' in sys.argv[0]:\n"
        "            os.kill(os.getpid(), 9)\n"
        "        return super().run(settings, job)\n\n"
        "EXPERIMENT = Deadly()\n"
    )
    table = SPEC | {"experiment": "deadly:EXPERIMENT"}
    tally = run_sweep(table, tmp_path / "out", engine="ray", folder=tmp_path)
    assert (tally.done, tally.failed) == (4, 2)
    failures = open_sweep(tmp_path / "out").failures
    assert sorted(failures) == ["alpha=1.3/epsilon=0.5", "alpha=1.7/epsilon=0.5"]
    assert all("died 4 times" in message for message in failures.values())


@pytest.fixture
def bucket(monkeypatch) -> Iterator[str]:
    """A bucket on an S3 server of this machine."""
    moto = pytest.importorskip("moto.server")
    import gc
    import logging

    import aiohttp
    import boto3
    import fsspec
    import s3fs
    from zarr.core.sync import sync

    s3fs.S3FileSystem.clear_instance_cache()  # they remember the last server
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="sweeps")
    yield "s3://sweeps"
    # zarr leaves its connections open: they would be collected, with a warning, in the middle of
    # some later test
    for connected in [fs for fs in s3fs.S3FileSystem._cache.values() if fs._s3 is not None]:
        if connected.asynchronous:
            sync(connected._s3.close())
        else:
            fsspec.asyn.sync(connected.loop, connected._s3.close)
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()
    gc.collect()
    assert [
        o for o in gc.get_objects() if isinstance(o, aiohttp.ClientSession) and not o.closed
    ] == []


def data_objects(url: str) -> dict[str, bytes]:
    place = Place(url)
    names = [n for n in place.files() if not n.startswith((".run/", "log/"))]
    return {name: place.read(name) or b"" for name in sorted(names)}


@pytest.mark.slow
def test_a_bucket_holds_the_same_data_and_a_killed_driver_goes_on(bucket, undisturbed):
    url = f"{bucket}/long"
    process = start(long_spec(), url)
    place = Place(url)
    wait_for(lambda: [n for n in place.files(".run", "checkpoints") if n == "1.npz"])
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with pytest.raises(BusyError, match=f"process {process.pid}"):
        run_sweep(long_spec(), url)  # its lease has not lapsed
    place.remove(".run", "lock-0-of-1")
    tally = run_sweep(long_spec(), url)
    assert (tally.done, tally.skipped) == (2, 1)
    found = data_objects(url)
    # the attributes name the place of nothing: the whole store is the same, byte for byte
    assert found.keys() == undisturbed.keys()
    assert [name for name in found if found[name] != undisturbed[name]] == []
    assert sweep_status(url).done == 3
    assert open_sweep(url).compare({"alpha": 1.5}).num == 600


@pytest.mark.slow
def test_two_drivers_on_a_bucket(bucket):
    url = f"{bucket}/busy"
    with Place(url).locked((0, 1)):
        with pytest.raises(BusyError, match=f"process {os.getpid()}"):
            run_sweep(SPEC, url)
    with Place(url).locked((0, 2)), pytest.raises(BusyError):
        run_sweep(SPEC, url)
    assert run_sweep(SPEC, url, shard="0/2").done == 3


@pytest.mark.slow
def test_a_bucket_out_of_reach_is_said_in_words(monkeypatch):
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(OSError, match=r"s3://nowhere/x cannot be reached"):
        run_sweep(SPEC, "s3://nowhere/x")


def test_a_folder_of_path_type_is_a_place(tmp_path: Path):
    assert Place(tmp_path).url == str(tmp_path)
