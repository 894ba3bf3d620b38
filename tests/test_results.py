"""Results in files, in pandas and in xarray: the same numbers come out as went in."""

import json
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import levysde as ls
from levysde import stats, theory
from levysde.escape import Status, join_shards

WELL = ls.Quadratic(hessian=jnp.array([1.0, 2.0]))
BALL = ls.Ball(radius=1.0, center=jnp.zeros(2))
STABLE = ls.SGD(WELL, ls.StableComponents(alpha=1.5), epsilon=0.3)
KERNEL = ls.EulerMaruyama(STABLE, dt=0.1)


@pytest.fixture(scope="module")
def run():
    return ls.simulate_escape(KERNEL, BALL, jnp.zeros(2), num=40, seed=3, max_time=5.0)


@pytest.fixture(scope="module")
def paths():
    return ls.simulate_paths(KERNEL, jnp.zeros(2), num=3, seed=1, every=2, max_steps=8, domain=BALL)


@pytest.fixture(scope="module")
def law():
    return ls.escape_law(STABLE, BALL, check=False)


def results(run, paths, law):
    one = ls.SGD(ls.Quadratic(hessian=jnp.eye(1)), ls.StableComponents(alpha=1.5), epsilon=0.3)
    interval = ls.Box(lower=[-1.0], upper=[1.0])
    return {
        "run": run,
        "paths": paths,
        "law": law,
        "comparison": ls.compare(run, law),
        "exact": theory.exact_exit(one, interval),
        "estimate": stats.mean_time(run.time, run.exited),
        "curve": stats.kaplan_meier(run.time, run.exited),
        "quasi-potential": theory.quasi_potential(jnp.eye(2), jnp.eye(2)),
    }


@pytest.mark.parametrize(
    "name",
    ["run", "paths", "law", "comparison", "exact", "estimate", "curve", "quasi-potential"],
)
def test_a_file_gives_back_what_was_saved(name, run, paths, law, tmp_path):
    result = results(run, paths, law)[name]
    result.save(tmp_path / "saved.npz")
    loaded = ls.load(tmp_path / "saved.npz")
    assert loaded == result
    assert type(loaded) is type(result)
    assert repr(loaded) == repr(result)
    assert [path.name for path in tmp_path.iterdir()] == ["saved.npz"]


def test_a_loaded_law_is_compared_and_has_no_dynamics(run, law, tmp_path):
    law.save(tmp_path / "law")
    loaded = ls.load(tmp_path / "law")
    assert loaded.dynamics is None
    assert loaded.rays == ()
    assert ls.compare(run, loaded).ratio == ls.compare(run, law).ratio
    assert loaded.with_epsilon(0.1).mean == pytest.approx(law.with_epsilon(0.1).mean)


def test_a_loaded_shard_is_joined(tmp_path):
    shards = [
        ls.simulate_escape(KERNEL, BALL, jnp.zeros(2), num=9, seed=3, max_time=5.0, shard=(i, 2))
        for i in range(2)
    ]
    for i, shard in enumerate(shards):
        shard.save(tmp_path / f"{i}.npz")
    loaded = [ls.load(tmp_path / f"{i}.npz") for i in range(2)]
    assert join_shards(loaded) == join_shards(shards)


def test_rows_of_a_run(run):
    frame = run.to_dataframe()
    assert frame.index.name == "trajectory"
    assert list(frame.index) == list(range(40))
    np.testing.assert_array_equal(frame["time"], run.time)
    np.testing.assert_array_equal(frame["first_outside_1"], run.first_outside[:, 1])
    assert frame["status"][0] == Status(run.status[0]).name.lower()
    assert frame.attrs["unit"] == "SDE time"
    assert frame.attrs["seed"] == 3
    assert frame.attrs["version_numpy"] == np.__version__


def test_rows_without_places():
    run = ls.simulate_escape(
        KERNEL, BALL, jnp.zeros(2), num=4, seed=3, max_time=5.0, record="times"
    )
    assert "first_outside_0" not in run.to_dataframe()
    assert run.to_dataset().sizes == {"trajectory": 4, "coordinate": 0}


def test_rows_of_paths(paths):
    frame = paths.to_dataframe()
    assert len(frame) == paths.positions.shape[0] * paths.positions.shape[1]
    row = frame[(frame["trajectory"] == 1) & (frame["step"] == paths.steps[2])].iloc[0]
    np.testing.assert_array_equal(row[["x_0", "x_1"]].to_numpy(float), paths.positions[1, 2])


def test_arrays_with_names(run, paths, law):
    data = run.to_dataset()
    assert data["last_inside"].dims == ("trajectory", "coordinate")
    assert data["time"].attrs["units"] == "SDE time"
    np.testing.assert_array_equal(data["label"], run.label)
    moved = paths.to_dataset()
    chosen = moved["positions"].sel(time=paths.times[1])
    np.testing.assert_array_equal(chosen, paths.positions[:, 1])
    assert float(law.to_dataset()["rate"]) == law.rate
    assert law.to_dataset()["ray_direction"].shape == law.ray_direction.shape


def test_one_row_of_a_law_and_of_a_comparison(run, law):
    row = law.to_dataframe().iloc[0]
    assert row["mean"] == law.mean
    assert row["name"] == law.name
    comparison = ls.compare(run, law)
    row = comparison.to_dataframe().iloc[0]
    assert (row["ratio"], row["ratio_low"], row["ratio_high"]) == (
        comparison.ratio.value,
        comparison.ratio.low,
        comparison.ratio.high,
    )


def test_a_large_run_has_no_columns_of_places():
    wide = ls.SGD(ls.Quadratic(hessian=jnp.ones(17)), ls.StableComponents(alpha=1.5), epsilon=0.3)
    ball = ls.Ball(radius=1.0, center=jnp.zeros(17))
    kernel = ls.EulerMaruyama(wide, dt=0.1)
    run = ls.simulate_escape(kernel, ball, jnp.zeros(17), num=4, seed=3, max_time=1.0)
    assert "first_outside_0" not in run.to_dataframe()
    assert run.to_dataset()["first_outside"].shape == (4, 17)


@pytest.mark.parametrize("package", ["pandas", "xarray"])
def test_what_is_missing_is_named(package, law, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    convert = law.to_dataframe if package == "pandas" else law.to_dataset
    with pytest.raises(ImportError, match=rf'needs {package}.*pip install "levysde\[sweep\]"'):
        convert()


def test_bad_files(law, tmp_path):
    with pytest.raises(ValueError, match="is no file"):
        ls.load(tmp_path / "none.npz")
    with pytest.raises(TypeError, match="path must be a path"):
        ls.load(3)
    (tmp_path / "text").write_text("hello")
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    law.save(tmp_path / "law.npz")
    whole = (tmp_path / "law.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    for name in ("text", "other.npz", "half.npz"):
        with pytest.raises(ValueError, match="is no result that save wrote, or is damaged"):
            ls.load(tmp_path / name)
    for change, message in (
        ({"format": 9}, "has format 9, and this version reads 1"),
        ({"result": {"class": "os:system", "fields": {}}}, "holds a system of os"),
        ({"result": {"class": "levysde.escape:Nothing", "fields": {}}}, "holds a Nothing"),
        ({"result": {"class": "levysde.gone:Nothing", "fields": {}}}, "holds a Nothing"),
    ):
        description = np.asarray(json.dumps({"format": 1, "result": None} | change))
        np.savez(tmp_path / "made.npz", description=description)
        with pytest.raises(ValueError, match=message):
            ls.load(tmp_path / "made.npz")
    with pytest.raises(ValueError, match="it is a folder"):
        law.save(tmp_path)
