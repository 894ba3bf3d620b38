"""Files of noise: what is read from each kind, what is left out, and what is wrong with bad
ones."""

import importlib.util
import re
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from levysde import stats
from levysde.stats import noise_files

RNG = np.random.default_rng(0)
VALUES = RNG.standard_t(3, 400)
VECTORS = RNG.normal(size=(400, 3))


def table(**columns):
    return pd.DataFrame({"Step": np.arange(len(VALUES)), **columns})


def test_every_kind_of_file_holds_the_same_series(tmp_path):
    np.savez(tmp_path / "a.npz", step=np.arange(400), noise=VALUES)
    np.save(tmp_path / "noise.npy", VALUES)
    table(noise=VALUES).to_csv(tmp_path / "a.csv", index=False)
    table(noise=VALUES).to_parquet(tmp_path / "a.parquet")
    np.savetxt(tmp_path / "noise.csv", VALUES)
    for name in ("a.npz", "noise.npy", "a.csv", "a.parquet", "noise.csv"):
        log = stats.read_noise(tmp_path / name)
        assert log.names == ("noise",)
        np.testing.assert_allclose(
            log.values["noise"], VALUES, rtol=1e-12
        )  # pandas 2 reads the last digit of a CSV file wrongly
        assert not log.warnings
        if name.startswith("a."):
            np.testing.assert_array_equal(log.steps, np.arange(400))
        else:
            assert log.steps is None
    assert stats.read_noise(str(tmp_path / "a.npz")).path == str(tmp_path / "a.npz")


def test_vectors_of_every_kind(tmp_path):
    columns = {f"g_{i}": VECTORS[:, i] for i in range(3)}
    np.savez(tmp_path / "a.npz", g=VECTORS)
    table(**columns).to_csv(tmp_path / "a.csv", index=False)
    table(g=list(VECTORS)).to_parquet(tmp_path / "a.parquet")
    for name in ("a.npz", "a.csv", "a.parquet"):
        log = stats.read_noise(tmp_path / name)
        assert log.names == ("g",)
        np.testing.assert_allclose(
            log.values["g"], VECTORS, rtol=1e-12
        )  # pandas 2 reads the last digit of a CSV file wrongly
        assert "400 vectors of 3" in repr(log)
    rows = np.column_stack([np.arange(400), VECTORS])
    np.savetxt(tmp_path / "plain.csv", rows, delimiter=",", fmt=["%d", *["%.17g"] * 3])
    log = stats.read_noise(tmp_path / "plain.csv")
    np.testing.assert_array_equal(log.steps, np.arange(400))
    np.testing.assert_allclose(log.values["plain"], VECTORS)


def test_the_export_of_a_tracker(tmp_path):
    name = "run 1 - grad_norm"
    frame = table(
        **{name: np.abs(VALUES), f"{name}__MIN": 0.0, f"{name}__MAX": 1.0, "lr": 0.1, "run": "a"}
    )
    frame["_timestamp"], frame["loss"] = np.arange(400) * 1e9, np.abs(VALUES) + 1
    frame.to_csv(tmp_path / "export.csv", index=False)
    log = stats.read_noise(tmp_path / "export.csv")
    assert log.names == (name, "loss")
    (warning,) = log.warnings
    assert warning == "left out: lr (constant, 0.1), run (text, such as 'a')."


def test_missing_numbers_are_counted_and_left_out(tmp_path):
    x = VALUES.copy()
    x[[7, 11]], x[30] = np.nan, np.inf
    np.save(tmp_path / "noise.npy", x)
    table(noise=x).to_csv(tmp_path / "noise.csv", index=False)
    words = "3 of 400 values are missing, NaN or infinite, the first at index 7"
    for name in ("noise.npy", "noise.csv"):
        log = stats.read_noise(tmp_path / name)
        assert words in log.warnings[0]
        found = log.classify()
        assert found.num_values == 397
        assert words in found.warnings[0]
        clean = stats.noise_class(np.delete(x, [7, 11, 30]))
        assert found.fits[0].parameters == pytest.approx(clean.fits[0].parameters)


def test_a_series_is_chosen_by_name(tmp_path):
    np.savez(tmp_path / "a.npz", first=VALUES[:90], second=np.abs(VALUES[:90]))
    log = stats.read_noise(tmp_path / "a.npz")
    assert log.classify("second").norms
    assert not log.classify("second", norms=False).norms
    assert not log.classify("first").norms
    for name in (None, "third"):
        with pytest.raises(ValueError, match=r'first, second\. For example name="first"'):
            log.classify(name)


def test_long_vectors_are_sampled(tmp_path):
    x = RNG.normal(size=(1200, 300)).astype(np.float32)
    x[5, 299] = np.nan
    np.save(tmp_path / "g.npy", x)
    found = stats.read_noise(tmp_path / "g.npy").classify()
    assert (found.name, found.dim, found.num_values) == ("Gaussian", 300, 1199)


def test_several_runs_in_one_file_are_named(tmp_path):
    frame = pd.concat([table(noise=VALUES)] * 2)
    frame.to_csv(tmp_path / "a.csv", index=False)
    (warning,) = stats.read_noise(tmp_path / "a.csv").warnings
    assert "the steps do not increase everywhere" in warning


BAD = {
    "none.csv": (None, "there is no such file. Check the path."),
    "a.txt": ("1", "has the ending '.txt'; .npz, .npy, .csv, .parquet can be read. Save"),
    "empty.csv": ("", "cannot be read: it is empty, 0 bytes. Write the file again."),
    "empty.npz": ("", "cannot be read: it is empty, 0 bytes. Write the file again."),
    "blank.csv": ("\n\n", "cannot be read: No columns to parse from file. Write"),
    "head.csv": ("Step,loss\n", "no series of numbers that vary: it has Step (no rows), loss (no"),
    "text.csv": ("name\na\nb\n", "it has name (text, such as 'a'). Write an array or a column"),
    "word.csv": ("g\n1.5\n2\n--\n", "it has g (text, such as '--')."),
    "ragged.csv": ("Step,g\n1,2\n2,3,4\n", "line 3 has 3 cells, not 2 as the lines above. Write"),
    "wide.csv": ("Step,g\n1,2,3\n2,3,4\n", "lines have more cells than the first, which has 2."),
    "constant.csv": ("Step,g\n1,2\n2,2\n", "it has g (constant, 2). Write"),
    "gaps.csv": ("Step,g,h\n1,,\n2,,\n", "it has g (no numbers), h (no numbers)."),
    "bad.npz": ("abc", "it is damaged, or holds other things than numbers. Write"),
    "bad.npy": ("abc", "it is damaged, or holds other things than numbers. Write"),
    "bad.parquet": ("abc", "cannot be read: Could not open Parquet"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_sentence_says_what_is_wrong(name, tmp_path):
    content, words = BAD[name]
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        stats.read_noise(tmp_path / name)
    message = str(caught.value)
    assert message.startswith(f"path = '{tmp_path / name}'")
    assert message.endswith(".")
    assert "\n" not in message


def test_other_bad_arrays(tmp_path):
    np.savez(tmp_path / "o.npz", a=np.array([None, 1], object))
    with pytest.raises(ValueError, match="it is damaged, or holds other things than numbers"):
        stats.read_noise(tmp_path / "o.npz")
    np.savez(tmp_path / "c.npz", a=np.ones(3, complex), b=np.ones((2, 2, 2)))
    with pytest.raises(ValueError, match=r"it has a \(complex128, shape \(3,\)\), b \(float64, sh"):
        stats.read_noise(tmp_path / "c.npz")
    np.savez(tmp_path / "n.npz")
    with pytest.raises(ValueError, match="it has nothing"):
        stats.read_noise(tmp_path / "n.npz")
    pd.DataFrame({"g": [[1.0], [1.0, 2.0]]}).to_parquet(tmp_path / "l.parquet")
    with pytest.raises(ValueError, match="the lists of column 'g' have 1, 2 numbers"):
        stats.read_noise(tmp_path / "l.parquet")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match="Is a directory"):
        stats.read_noise(tmp_path / "folder.csv")
    with pytest.raises(TypeError, match="path must be a path, not 3"):
        stats.read_noise(3)


@pytest.mark.parametrize(("package", "ending"), [("pandas", "csv"), ("pyarrow", "parquet")])
def test_a_missing_package_is_named(package, ending, tmp_path, monkeypatch):
    (tmp_path / f"a.{ending}").write_text("g\n1\n")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        noise_files, "find_spec", lambda name: None if name == package else find(name)
    )
    with pytest.raises(ImportError, match=rf"Reading \.{ending} needs {package}, .*levysde\[sweep"):
        stats.read_noise(tmp_path / f"a.{ending}")


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["npy", "csv", "parquet"])
def test_ten_million_rows_need_seconds_and_bounded_memory(ending, tmp_path):
    """The series takes 80 MB; NumPy's memory at the peak is a few times that."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    x = np.random.default_rng(1).standard_t(3, 10_000_000)
    path = tmp_path / f"big.{ending}"
    if ending == "npy":
        np.save(path, x)
    else:
        columns = pa.table({"Step": np.arange(x.size), "noise": x})
        {"csv": pa.csv.write_csv, "parquet": pa.parquet.write_table}[ending](columns, path)
        del columns
    del x
    tracemalloc.start()
    found = stats.read_noise(path).classify()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.name, found.num_values) == ("heavy-tailed, not stable", 10_000_000)
    assert found.fits[0].parameters["df"] == pytest.approx(3, abs=0.02)
    assert peak < 1.5e9


def test_a_log_as_a_data_frame_has_its_series(tmp_path):
    np.savez(tmp_path / "a.npz", step=np.arange(400), noise=VALUES, g=VECTORS)

    frame = stats.read_noise(tmp_path / "a.npz").to_dataframe()

    assert list(frame) == ["step", "noise", "g_0", "g_1", "g_2"]
    np.testing.assert_array_equal(frame["noise"], VALUES)
    np.testing.assert_array_equal(frame[["g_0", "g_1", "g_2"]], VECTORS)
