"""Sweeps over an SDE whose drift and scale are functions of a module next to the specification."""

import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from sweeping import data_files, spec, start

import levysde as ls
from levysde.sweeps import SpecError, make_plan, open_sweep, read_spec, run_sweep

MODULE = """
import jax.numpy as jnp
import levysde as ls

constant = 3.0


def turning(x, pull=1.0, turn=2.0):
    return jnp.stack([-pull * x[0] - turn * x[1], turn * x[0] - pull * x[1]])


def powers(x, degree, weight):
    return -(weight * x**degree)


def widening(x, slope=0.5):
    return 1 + slope * x**2


def made(turn):
    return lambda x: turning(x, turn=turn)


def moved(place):
    return ls.SDE(
        lambda x: place - x, ls.StableComponents(alpha=1.5), dim=2, attractor=jnp.full(2, place)
    )


def short(x):
    return -x[:1]


def looks(x, pull=1.0):
    return -x if pull > 0 else x


def late(x):
    raise RuntimeError("no such regime")
"""
SDE = {"name": "SDE", "drift": "sweep_drifts:turning", "dim": 2, "attractor": [0.0, 0.0]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("drifts")
    (folder / "sweep_drifts.py").write_text(MODULE)
    return folder


@pytest.fixture(autouse=True)
def importable(folder, monkeypatch):
    """Found by the plain functions of `sys.path`, which is as before afterwards."""
    monkeypatch.syspath_prepend(str(folder))
    yield
    sys.modules.pop("sweep_drifts", None)


def sde(**changed: Any) -> dict[str, Any]:
    """The small spec with an SDE in the place of SGD, and no landscape."""
    table = spec(run__landscape=None, run__dynamics=SDE | {"epsilon": 0.3}, grid={"alpha": [1.5]})
    for key, value in changed.items():
        section, _, name = key.partition("__")
        table[section][name] = value
    return table


@pytest.fixture(scope="module")
def stored(folder, tmp_path_factory) -> Path:
    """A finished sweep over a parameter of the drift and the noise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        out = tmp_path_factory.mktemp("sweep") / "sde"
        assert run_sweep(swept(), out, folder=folder).done == 4
    return out


def swept(**run: Any) -> dict[str, Any]:
    drift = {"name": "sweep_drifts:turning", "turn": 2.0}
    table = sde(run__dynamics=SDE | {"epsilon": 0.3, "drift": drift})
    return table | {"run": table["run"] | run, "grid": {"turn": [0.5, 2.0], "epsilon": [0.3, 0.5]}}


class Turning(eqx.Module):
    turn: Array

    def __call__(self, x: Array) -> Array:
        return jnp.stack([-1.0 * x[0] - self.turn * x[1], self.turn * x[0] - 1.0 * x[1]])


def by_hand(drift: Any, seed: int, **changes: Any) -> tuple[ls.EscapeResult, ls.EscapeLaw]:
    settings = {"epsilon": 0.3} | changes
    dynamics = ls.SDE(
        drift, ls.StableComponents(alpha=1.5), dim=2, attractor=np.zeros(2), **settings
    )
    ball = ls.Ball(radius=1.0, center=np.zeros(2))
    law = ls.escape_law(dynamics, ball, check=False)
    result = ls.simulate_escape(
        ls.EulerMaruyama(dynamics, dt=0.01),
        ball,
        np.zeros(2),
        num=40,
        seed=seed,
        max_time=30 * law.mean,
    )
    return result, law


def same(a: ls.EscapeResult, b: ls.EscapeResult) -> None:
    for name in ("time", "exited", "label", "steps", "status"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_a_point_is_the_run_one_would_make_by_hand(stored):
    sweep, at = open_sweep(stored), {"turn": 0.5, "epsilon": 0.5}
    result, law = by_hand(Turning(jnp.asarray(0.5)), sweep.point(at).seed, epsilon=0.5)
    same(sweep.result(at), result)
    assert sweep.compare(at) == ls.compare(result, law)
    assert float(sweep.data["predicted_mean"].sel(at)) == law.mean


def test_a_drift_and_a_scale_without_arguments_are_the_functions(tmp_path):
    table = sde(run__dynamics=SDE | {"epsilon": 0.3, "scale": "sweep_drifts:widening"})
    run_sweep(table, tmp_path / "out")
    import sweep_drifts  # pyright: ignore[reportMissingImports]

    sweep = open_sweep(tmp_path / "out")
    result, _ = by_hand(sweep_drifts.turning, sweep.point({}).seed, scale=sweep_drifts.widening)
    same(sweep.result({}), result)


def test_shards_make_the_same_store(stored, folder, tmp_path):
    for i in (1, 0):
        assert run_sweep(swept(), tmp_path / "parts", shard=f"{i}/2", folder=folder).done == 2
    assert data_files(tmp_path / "parts") == data_files(stored)


@pytest.mark.slow
def test_a_killed_sweep_goes_on_in_another_process(folder, tmp_path):
    table = swept(num=6000, kernel={"name": "EulerMaruyama", "dt": 5e-4})
    run_sweep(table, tmp_path / "whole", folder=folder)
    out = tmp_path / "killed"
    process = start(table, str(out), folder=str(folder))
    limit = time.monotonic() + 240
    while not list(out.glob(".run/checkpoints/*.npz")):
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < limit
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list(out.glob(".run/checkpoints/*.npz"))
    assert run_sweep(table, out, folder=folder).done > 0
    assert data_files(out) == data_files(tmp_path / "whole")


def test_numbers_of_a_drift_compile_nothing_new(stored, tmp_path, folder, caplog):
    table = swept() | {"grid": {"turn": [0.7, 1.1], "epsilon": [0.35]}}
    with caplog.at_level("WARNING"), jax.log_compiles():
        run_sweep(table, tmp_path / "more", folder=folder)
    assert not [r.message for r in caplog.records if r.message.startswith("Compiling advance")]


def test_what_an_sde_in_a_sweep_may_be(folder):
    """Without an attractor and with a start, with a scale that has arguments, with a drift that a
    function makes, or with integers and words as constants of the drift."""
    free = {k: v for k, v in SDE.items() if k != "attractor"}
    ball = {"name": "Ball", "radius": 1.0, "center": [0.0, 0.0]}
    scale = {"name": "sweep_drifts:widening", "slope": 0.1}
    odd = {"name": "sweep_drifts:powers", "degree": 1, "weight": [1.0, 2.0]}
    made = {"name": "sweep_drifts:made", "turn": 1.0}
    limit = {"run__max_time": 10.0}  # so that no law is needed
    for table, grid in (
        (sde(run__dynamics=free, run__domain=ball, run__start=[0.1, 0.0], **limit), {}),
        (sde(run__dynamics=SDE | {"scale": scale}, **limit), {"slope": [0.1, 0.2]}),
        (sde(run__dynamics=SDE | {"drift": made}, **limit), {}),
        (sde(run__dynamics=SDE, **limit), {"drift": ["sweep_drifts:turning"]}),
        (sde(run__dynamics=SDE | {"drift": odd}, **limit), {"degree": [1, 3]}),
        (
            sde(run__dynamics={"name": "sweep_drifts:moved", "place": 1.0}, **limit),
            {"place": [1.0, 2.0]},
        ),
    ):
        make_plan(table | {"grid": grid or {"alpha": [1.5]}})


def drift(name: str, **arguments: Any) -> dict[str, Any]:
    given = {"name": name, **arguments} if arguments else name
    return sde(run__dynamics=SDE | {"drift": given})


REFUSED = [
    (drift("no_such:thing"), "run.dynamics.drift: 'no_such:thing' cannot be imported"),
    (drift("no_such:thing", a=1.0), "run.dynamics.drift.name: 'no_such:thing' cannot be imported"),
    (drift("sweep_drifts:turn"), "run.dynamics.drift: 'sweep_drifts:turn' cannot be imported"),
    (drift("turning"), "run.dynamics.drift: 'turning' is not of the form \"module:function\""),
    (drift("sweep_drifts:constant"), "run.dynamics.drift: 'sweep_drifts:constant' is float, not a"),
    (drift("sweep_drifts:turning", tern=1.0), "run.dynamics.drift.tern: there is no such field"),
    (
        drift("sweep_drifts:powers", degree=1),
        "run.dynamics.drift.weight: sweep_drifts:powers needs",
    ),
    (drift("sweep_drifts:turning", turn=1e300), "run.dynamics.drift: turn"),
    (drift("sweep_drifts:short"), "run.dynamics: drift(x) must return a real array of shape (2,)"),
    (drift("sweep_drifts:late"), "run.dynamics: drift(x) fails"),
    (drift("sweep_drifts:looks", pull=1.0), "run.dynamics: drift(x) fails"),
    (sde(run__dynamics=SDE | {"drift": 3.0}), "run.dynamics: drift must be a function"),
    (sde(run__dynamics=SDE | {"attractor": [1.0, 0.0]}), "run.dynamics: the drift is"),
    (sde(run__dynamics=SDE | {"scale": "sweep_drifts:nothing"}), "run.dynamics.scale: 'sweep_"),
    (sde(run__dynamics=SDE | {"scale": "sweep_drifts:short"}), "run.dynamics: scale: fn(x) must"),
    (sde(run__dynamics=SDE | {"attractor": [0.0]}), "run.dynamics: attractor must have shape (2,)"),
    (sde(run__dynamics={"name": "SGD", "epsilon": 0.3}), "run.landscape: SGD needs this field"),
    (sde(run__domain={"name": "Sublevel", "height": 1.0}), "run.landscape: Sublevel needs this"),
    (sde(run__training={"optimizer": "sgd"}), "run.training: there is no landscape to train"),
    (
        sde(
            run__dynamics={k: v for k, v in SDE.items() if k != "attractor"},
            run__domain={"name": "Ball", "radius": 1.0, "center": [0.0, 0.0]},
        ),
        "run.start: the dynamics has no attractor to start at. For example start = [0.0, 0.0]",
    ),
    (
        sde(run__dynamics={k: v for k, v in SDE.items() if k != "attractor"}),
        "run.domain.center: Ball needs this field",
    ),
]


@pytest.mark.parametrize(("table", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_cannot_run_is_refused_in_the_dry_run(table, words):
    with pytest.raises(SpecError, match=re.escape(words)) as caught:
        make_plan(table)
    assert len(str(caught.value).splitlines()) <= 4


def test_the_example_of_the_page_is_a_sweep(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    page = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()
    section = page.partition("## A sweep over your own equation")[2]
    code, table = (
        re.search(rf"```{kind}\n(.*?)```", section, re.DOTALL)[1] for kind in ("python", "toml")
    )
    assert len(table.splitlines()) <= 12
    (tmp_path / "my_drifts.py").write_text(code)
    (tmp_path / "equation.toml").write_text(table)
    plan = make_plan(read_spec(tmp_path / "equation.toml"), tmp_path)
    sys.modules.pop("my_drifts")
    laws = [plan.experiment.law(point.settings).mean for point in plan.points]
    # rate = epsilon^alpha m(W), with another m for each drift
    assert laws[0] / laws[1] == pytest.approx(2**1.5)
    assert laws[2] / laws[3] == pytest.approx(2**1.5)
    assert laws[0] > laws[2]
