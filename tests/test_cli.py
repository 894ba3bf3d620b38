"""The command: what it prints, what it leaves behind, how it refuses."""

import json
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from typer.testing import CliRunner

import levysde
from levysde import errors
from levysde.cli import _warnings, app

runner = CliRunner()


def run(*arguments):
    return runner.invoke(app, ["escape", *map(str, arguments)])


def test_quadratic_run(tmp_path):
    out = tmp_path / "made" / "here"
    done = run("--landscape", "quadratic", "--num", 400, "--seed", 3, "--out", out)
    assert done.exit_code == 0, done.output
    report = json.loads((out / "escape.json").read_text())
    assert [row["optimizer"] for row in report["rows"]] == ["sgd"] * 4 + ["adam"] * 4
    assert sorted(path.name for path in out.iterdir()) == ["escape.json", "escape.png"]  # no checkpoint is left
    for row in report["rows"]:
        assert row["exits"] + round(row["censored_share"] * row["num"]) == row["num"] == 400
        low, high = row["ratio"][1:]
        assert low < row["ratio"][0] < high
        np.testing.assert_allclose(row["ratio"][0], row["measured_mean"][0] / row["predicted_mean"], rtol=1e-6)
        assert f"{row['epsilon']:.4g}" in done.output
    # the fixed ladder of predicted mean steps, and the approach to 1 along it
    np.testing.assert_allclose([row["predicted_steps"] for row in report["rows"][:4]], [30, 100, 300, 1000], rtol=1e-3)
    gaps = [abs(row["ratio"][0] - 1) for row in report["rows"]]
    assert gaps[3] < 0.25
    assert gaps[7] < 0.25
    assert gaps[4] > 0.3
    for minimum in report["minima"]:
        assert minimum["star_shaped"] is True
        np.testing.assert_allclose(minimum["hessian_eigenvalues"], [1, 4])
    assert report["settings"]["seed"] == 3
    assert {"jax", "jaxlib"} <= set(report["versions"])


def test_own_ladder_and_basin(tmp_path):
    arguments = ["--landscape", "double-well", "--optimizer", "sgd", "--noise", "isotropic", "--alpha", 1.3]
    arguments += ["--dt", 0.01]
    done = run(*arguments, "--eps", 0.3, "--eps", 0.1, "--basin-height", 0.4, "--num", 100, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "escape.json").read_text())
    assert report["minima"][0]["star_shaped"] is True  # the marked well alone, not both
    np.testing.assert_allclose([row["epsilon"] for row in report["rows"]], [0.3, 0.1])
    np.testing.assert_allclose([(row["alpha"], row["dt"]) for row in report["rows"]], [(1.3, 0.01)] * 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--alpha", 2.0), "alpha = 2 is Gaussian"),
        (("--alpha", 2.5), "alpha must lie in"),
        (("--alpha", "nan"), "alpha must be positive"),
        (("--eps", -1.0), "epsilons must be positive"),
        (("--num", 0), "num must be at least 1"),
        (("--seed", -1), "seed must be at least 0"),
        (("--dt", 0.0), "dt must be positive"),
        (("--basin-height", -1.0), "basin_height must be positive"),
        (("--landscape", "double-well", "--basin-height", 2.0), "reaches over the barrier"),
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
run = { landscape = { name = "Quadratic", hessian = [1.0] }, driver = { name = "StableComponents", alpha = 1.5 }, \
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
        ("escape --landscape quadratic --num 1000000000000000", "do not fit into memory"),
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


def test_version():
    said = runner.invoke(app, ["--version"])
    assert said.exit_code == 0
    assert said.output == f"levysde {levysde.__version__}, jax {jax.__version__}\n"


def test_unknown_names_are_refused():
    refused = run("--landscape", "cubic")
    assert refused.exit_code == 2
    assert "double-well" in refused.output


def test_interrupted_and_typed_again(tmp_path, monkeypatch):
    """A command cut short keeps its checkpoints and goes on; the numbers are those of an undisturbed one."""
    from levysde.analysis import experiment

    arguments = ("--landscape", "quadratic", "--optimizer", "sgd", "--num", 200, "--out")
    assert run(*arguments, tmp_path / "whole").exit_code == 0
    simulate, calls = experiment.simulate_escape, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        result = simulate(*args, **kwargs)
        if len(calls) == 2:
            raise errors.Interrupted("interrupted", result)
        return result

    monkeypatch.setattr(experiment, "simulate_escape", interrupted)
    cut = run(*arguments, tmp_path / "cut")
    assert cut.exit_code == 130
    assert "Type the same command again" in cut.output
    assert len(list((tmp_path / "cut").glob(".*.npz"))) == 2
    monkeypatch.undo()
    assert run(*arguments, tmp_path / "cut").exit_code == 0
    whole, again = (json.loads((tmp_path / name / "escape.json").read_text())["rows"] for name in ("whole", "cut"))
    for first, second in zip(whole, again, strict=True):
        assert first["measured_mean"] == second["measured_mean"]
        assert first["ratio"] == second["ratio"]


def test_a_warning_of_several_rows_says_whose_numbers_it_shows():
    def rung(epsilon, *warnings):
        case, comparison = SimpleNamespace(optimizer="sgd"), SimpleNamespace(warnings=warnings)
        return SimpleNamespace(case=case, epsilon=epsilon, comparison=comparison)

    lines = _warnings([rung(0.2, "shape 1.5", "alone"), rung(0.1, "shape 1.3")])
    assert lines == ["warning (sgd 0.2, sgd 0.1; numbers of the last): shape 1.3", "warning (sgd 0.2): alone"]
