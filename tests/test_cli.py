"""The command: what it prints, what it leaves behind, how it refuses."""

import json
import os
import re
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest
from typer.testing import CliRunner

import levysde
from levysde import errors
from levysde.cli import app
from levysde.sweeps import (
    MainJob,
    MainJobSettings,
    Spec,
    main_job_spec,
    make_plan,
    open_sweep,
    read_spec,
)
from levysde.sweeps.main_job_report import _warnings

runner = CliRunner()


def run(*arguments):
    return runner.invoke(app, ["escape", *map(str, arguments)])


@pytest.mark.slow
def test_quadratic_run(tmp_path):
    out = tmp_path / "made" / "here"
    done = run("--landscape", "quadratic", "--num", 400, "--seed", 3, "--out", out)
    assert done.exit_code == 0, done.output
    report = json.loads((out / "escape.json").read_text())
    assert [row["optimizer"] for row in report["rows"]] == ["sgd"] * 4 + ["adam"] * 4
    assert (out / "escape.png").read_bytes().startswith(b"\x89PNG")
    assert not list((out / ".run" / "checkpoints").iterdir())
    for row in report["rows"]:
        assert row["exits"] + round(row["censored_share"] * row["num"]) == row["num"] == 400
        low, high = row["ratio"][1:]
        assert low < row["ratio"][0] < high
        np.testing.assert_allclose(
            row["ratio"][0], row["measured_mean"][0] / row["predicted_mean"], rtol=1e-6
        )
        low, high = row["law_error"][1:]
        assert low < row["law_error"][0] < high
        # the law's own error explains the ratio
        assert abs(np.log(row["law_error"][0] / row["ratio"][0])) < 0.4
        assert f"{row['epsilon']:.4g}" in done.output
    # the fixed ladder of predicted mean steps, and the approach to 1 along it
    np.testing.assert_allclose(
        [row["predicted_steps"] for row in report["rows"][:4]], [30, 100, 300, 1000], rtol=1e-3
    )
    gaps = [abs(row["ratio"][0] - 1) for row in report["rows"]]
    assert gaps[3] < 0.25
    assert gaps[7] < 0.25
    assert gaps[4] > 0.3
    for minimum in report["minima"]:
        assert minimum["star_shaped"] is True
        np.testing.assert_allclose(minimum["hessian_eigenvalues"], [1, 4])
    assert report["settings"]["seed"] == 3
    assert {"jax", "jaxlib"} <= set(report["versions"])
    # typed again, the command runs nothing and says the same
    files = {path: path.stat().st_mtime_ns for path in out.rglob("c/*/*") if path.is_file()}
    again = run("--landscape", "quadratic", "--num", 400, "--seed", 3, "--out", out)
    assert again.exit_code == 0
    assert json.loads((out / "escape.json").read_text()) == report
    assert files == {path: path.stat().st_mtime_ns for path in out.rglob("c/*/*") if path.is_file()}
    other = run("--landscape", "quadratic", "--num", 401, "--seed", 3, "--out", out)
    assert other.exit_code == 2
    assert "--num: 400 in the store, 401 in the spec" in other.output


@pytest.mark.slow
def test_own_ladder_and_basin(tmp_path):
    arguments = [
        "--landscape",
        "double-well",
        "--optimizer",
        "sgd",
        "--stable-noise",
        "isotropic",
        "--alpha",
        1.3,
    ]
    arguments += ["--dt", 0.01]
    done = run(
        *arguments,
        "--eps",
        0.3,
        "--eps",
        0.1,
        "--basin-height",
        0.4,
        "--num",
        100,
        "--out",
        tmp_path,
    )
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "escape.json").read_text())
    assert report["minima"][0]["star_shaped"] is True  # the marked well alone, not both
    np.testing.assert_allclose([row["epsilon"] for row in report["rows"]], [0.3, 0.1])
    np.testing.assert_allclose(
        [(row["alpha"], row["dt"]) for row in report["rows"]], [(1.3, 0.01)] * 2, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--alpha", 2.0), "--alpha: 2 is Gaussian"),
        (("--alpha", 2.5), "--alpha: input should be less than or equal to 2, not 2.5"),
        (("--alpha", "nan"), "--alpha: must be finite, not nan"),
        (("--eps", -1.0), "--eps: input should be greater than 0, not -1.0"),
        (("--num", 0), "--num: input should be greater than or equal to 1, not 0"),
        (("--seed", -1), "seed: input should be greater than or equal to 0, not -1"),
        (("--dt", 0.0), "--dt: input should be greater than 0, not 0.0"),
        (("--basin-height", -1.0), "--basin-height: input should be greater than 0, not -1.0"),
        (("--landscape", "double-well", "--basin-height", 2.0), "reaches over the barrier"),
        (
            ("--stable-noise", "white"),
            "--stable-noise: input should be 'components' or 'isotropic', not 'white'",
        ),
        (("--optimizer", "lion"), "--optimizer: input should be 'sgd' or 'adam', not 'lion'"),
        (("--out", "/proc/none"), "cannot be written"),
    ],
)
def test_refusals(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused = run("--landscape", "quadratic", *arguments)
    assert refused.exit_code == 2
    assert message in refused.output
    assert "Traceback" not in refused.output


ZHOU = Path(__file__).parents[1] / "benchmarks" / "papers" / "zhou2020"
OK = """
run = { landscape = { name = "Quadratic", hessian = [1.0] }, \
driver = { name = "StableComponents", alpha = 1.5 }, \
dynamics = { name = "SGD", epsilon = 0.3 }, domain = { name = "Ball", radius = 1.0 }, \
kernel = { name = "EulerMaruyama", dt = 0.1 }, num = 5 }
grid = { epsilon = [0.3, 0.4] }
"""


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("sweep none.toml --out o", "cannot be read"),
        ("sweep torn.toml --out o", "is not TOML"),
        ("sweep ok.toml --out torn.toml", "is a file"),
        ("sweep ok.toml --out zz://x", "no URL that is known"),
        ("sweep ok.toml --out o --shard 2/2", "shard must be"),
        ("sweep ok.toml --out o --workers 0", "workers must be at least 1"),
        ("sweep none.toml --out o --dry-run", "cannot be read"),
        ("sweep ok.toml", "Missing option"),
        ("status nowhere", "there is no sweep at"),
        ("status torn.toml", "there is no sweep at"),
        ("report nowhere", "there is no sweep at"),
        ("export nowhere x.parquet", "there is no sweep at"),
        ("study nothing", "there is no folder 'nothing'"),
        (f"study {ZHOU} --section nothing", "has no section"),
        (f"study {ZHOU} --out torn.toml", "cannot be written"),
        ("escape --landscape quadratic --eps 1e-30", "a trajectory makes at most"),
        (
            "escape --landscape quadratic --num 1000000000000000",
            "--num: input should be less than or equal to 1000000000",
        ),
    ],
)
def test_a_wrong_command_is_told_what_is_wrong(command, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "torn.toml").write_text("a = [1")
    (tmp_path / "ok.toml").write_text(OK)
    refused = runner.invoke(app, command.split())
    assert refused.exit_code == 2
    assert message in " ".join(refused.output.split())
    assert not (tmp_path / "o").exists()


def test_noise_prints_the_class_and_draws_the_tails(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez("log.npz", step=np.arange(1500), g=rng.standard_t(3, (1500, 3)), short=rng.random(90))
    done = runner.invoke(app, ["noise", "log.npz"])
    assert done.exit_code == 0, done.output
    for words in (
        "g      1,500 vectors of 3",
        "NoiseClass: heavy-tailed, not stable",
        "ls.SGD(landscape, ls.StudentT(df=",
        "NoiseClass: too short to tell",
        "figure: noise.png",
    ):
        assert words in done.output
    assert (tmp_path / "noise.png").read_bytes().startswith(b"\x89PNG")
    one = runner.invoke(app, "noise log.npz --name short --out deep/one.pdf".split())
    assert one.exit_code == 0, one.output
    assert "StudentT" not in one.output
    assert (tmp_path / "deep" / "one.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("noise none.npz", "path = 'none.npz': there is no such file. Check the path."),
        ("noise log.txt", "has the ending '.txt'; .npz, .npy, .csv, .parquet can be read."),
        ("noise empty.csv", "cannot be read: it is empty, 0 bytes."),
        ("noise text.csv", "it has name (text, such as 'a')"),
        ("noise log.npy --name other", "name must be one of the series of log.npy, not 'other'"),
        ("noise log.npy --out text.csv/a.png", "cannot be written"),
        ("noise log.npy --out noise.doc", "out = 'noise.doc' cannot be drawn"),
    ],
)
def test_noise_refuses_in_one_sentence(command, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.txt").write_text("1")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "text.csv").write_text("name\na\n")
    np.save("log.npy", np.random.default_rng(0).normal(size=90))
    refused = runner.invoke(app, command.split())
    assert refused.exit_code == 2
    assert message in " ".join(refused.output.split())
    assert "Traceback" not in refused.output


def test_version():
    said = runner.invoke(app, ["--version"])
    assert said.exit_code == 0
    assert said.output == f"levysde {levysde.__version__}, jax {jax.__version__}\n"


def test_unknown_names_are_refused():
    refused = run("--landscape", "cubic")
    assert refused.exit_code == 2
    assert "double-well" in refused.output


@pytest.mark.slow
def test_interrupted_and_typed_again(tmp_path, monkeypatch):
    """An interrupted command resumes; the numbers are those of an uninterrupted one."""
    from levysde.sweeps import escapes

    arguments = ("--landscape", "quadratic", "--optimizer", "sgd", "--num", 200, "--out")
    assert run(*arguments, tmp_path / "whole").exit_code == 0
    simulate, calls = escapes.simulate_escape, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        result = simulate(*args, **kwargs)
        if len(calls) == 2:
            raise errors.Interrupted("interrupted", result)
        return result

    monkeypatch.setattr(escapes, "simulate_escape", interrupted)
    cut = run(*arguments, tmp_path / "cut")
    assert cut.exit_code == 130
    assert "Type the same command again" in cut.output
    assert not (tmp_path / "cut" / "escape.json").exists()
    assert len(open_sweep(tmp_path / "cut").finished) == 1
    assert run(*arguments, tmp_path / "cut").exit_code == 0
    assert len(calls) == 2 + 3  # one was finished, one begins again, two are left
    whole, again = (
        json.loads((tmp_path / name / "escape.json").read_text())["rows"]
        for name in ("whole", "cut")
    )
    assert whole == again


def test_a_point_that_fails_ends_the_command_with_its_message(tmp_path, monkeypatch):
    arguments = (
        "--landscape",
        "quadratic",
        "--optimizer",
        "sgd",
        "--eps",
        0.5,
        "--num",
        20,
        "--out",
        tmp_path / "out",
    )

    def fails(self, settings, job):
        raise errors.NonFiniteError("a trajectory became NaN", None)

    monkeypatch.setattr(MainJob, "run", fails)
    failed = run(*arguments)
    assert failed.exit_code == 1
    assert "optimizer=sgd: a trajectory became NaN" in " ".join(failed.output.split())
    monkeypatch.undo()
    assert run(*arguments).exit_code == 0  # a failed point is run again


def test_the_options_are_those_of_the_settings():
    """Defaults are declared by the model and the shipped specification; the help repeats them."""
    shown = " ".join(run("--help").output.replace("│", " ").split())
    for name in ("landscape", "stable_noise", "alpha", "num"):
        assert re.search(
            rf"--{name.replace('_', '-')} .*?Default: "
            rf"{MainJobSettings.model_fields[name].default}\.",
            shown,
        ), name
    spec = read_spec("main-job")
    assert main_job_spec({}) == spec
    page = (Path(__file__).parents[1] / "docs" / "sweeps.md").read_text()
    (block,) = re.findall(r'```toml\n(experiment = "main-job".*?)```', page, re.DOTALL)
    assert Spec(title=spec.title, **tomllib.loads(block)) == spec
    assert spec.grid["predicted_steps"] == [30, 100, 300, 1000]
    points = make_plan(
        main_job_spec({"seed": 5, "epsilon": [0.2, 0.1], "optimizer": ["adam"]})
    ).points
    assert [(p.seed, p.settings.training_seed, p.settings.epsilon) for p in points] == [
        (5, 5, 0.2),
        (5, 5, 0.1),
    ]


def test_a_warning_of_several_rows_says_whose_numbers_it_shows():
    def row(epsilon, *warnings):
        return {"optimizer": "sgd", "epsilon": epsilon, "warnings": warnings}

    lines = _warnings([row(0.2, "shape 1.5", "alone"), row(0.1, "shape 1.3")])
    assert lines == [
        "warning (sgd 0.2, sgd 0.1; numbers of the last): shape 1.3",
        "warning (sgd 0.2): alone",
    ]


def test_compiled_programs_are_kept_for_the_next_command(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")

    runner.invoke(app, ["noise", "no such file"])

    (folder,) = (tmp_path / "levysde").iterdir()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(folder)


def test_an_own_folder_for_programs_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")

    runner.invoke(app, ["noise", "no such file"])

    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == ""
    assert not list(tmp_path.iterdir())
