"""Specs: what they mean, and that a malformed one is refused with the path of the field and what to
type instead."""

import random
import string
from typing import Any

import numpy as np
import pytest
from sweeping import SPEC, spec
from typer.testing import CliRunner

from levysde import cli
from levysde.sweeps import SpecError, make_plan, read_spec


def ids(table: dict[str, Any]) -> list[str]:
    return [point.id for point in make_plan(table).points]


def test_a_grid_is_every_combination_in_the_order_of_its_axes():
    plan = make_plan(SPEC)
    assert plan.dims == ("alpha", "epsilon")
    assert plan.shape == (2, 3)
    assert [p.index for p in plan.points] == list(np.ndindex(2, 3))
    assert [
        (p.settings.driver.arguments["alpha"], p.settings.dynamics.arguments["epsilon"])
        for p in plan.points
    ] == [(a, e) for a in (1.3, 1.7) for e in (0.3, 0.5, 0.7)]


def test_a_list_walks_its_axes_together():
    plan = make_plan(spec(grid=None, list={"alpha": [1.3, 1.7], "epsilon": [0.3, 0.5]}))
    assert plan.dims == ("point",)
    assert ids(spec(grid=None, list={"alpha": [1.3, 1.7], "epsilon": [0.3, 0.5]})) == [
        "alpha=1.3/epsilon=0.3",
        "alpha=1.7/epsilon=0.5",
    ]


def test_a_range_is_its_values():
    axis = make_plan(
        spec(grid={"epsilon": {"low": 0.1, "high": 0.8, "num": 4, "spacing": "log"}})
    ).axes[0]
    assert axis.values == (0.1, 0.2, 0.4, 0.8)
    axis = make_plan(spec(grid={"epsilon": {"low": 0.1, "high": 0.4, "num": 4}})).axes[0]
    assert axis.values == (0.1, 0.2, 0.3, 0.4)


def test_a_seed_belongs_to_the_values_of_a_point_and_not_to_its_place():
    narrow = {p.id: p.seed for p in make_plan(SPEC).points}
    wide = {
        p.id: p.seed
        for p in make_plan(spec(grid={"epsilon": [0.7, 0.9, 0.3], "alpha": [1.7]})).points
    }
    shared = narrow.keys() & wide.keys()
    assert len(shared) == 2
    assert all(narrow[name] == wide[name] for name in shared)
    assert len(set(narrow.values())) == 6
    assert not set(narrow.values()) & {p.seed for p in make_plan(spec(seed=4)).points}


def test_coupled_points_share_the_seed():
    assert {p.seed for p in make_plan(spec(coupled=True)).points} == {3}


def test_a_reference_follows_another_setting():
    plan = make_plan(
        spec(
            run__kernel={
                "name": "EulerMaruyama",
                "dt": {"of": "epsilon", "times": 0.1, "power": 2.0},
            }
        )
    )
    assert [p.settings.kernel.arguments["dt"] for p in plan.points[:3]] == [
        0.1 * e**2 for e in (0.3, 0.5, 0.7)
    ]


def test_a_reference_may_follow_a_reference():
    table = spec(
        run__max_time={"of": "kernel.dt", "times": 1000},
        run__kernel__dt={"of": "epsilon", "times": 0.1},
    )
    assert [p.settings.max_time for p in make_plan(table).points[:3]] == pytest.approx([30, 50, 70])


def test_a_word_on_an_axis_changes_the_part():
    plan = make_plan(spec(grid={"driver": ["StableComponents", "StableIsotropic"]}))
    assert [p.settings.driver.name for p in plan.points] == ["StableComponents", "StableIsotropic"]
    assert [p.settings.driver.arguments["alpha"] for p in plan.points] == [1.5, 1.5]


def test_a_table_on_an_axis_replaces_the_part_and_is_named_by_its_label():
    tables = [
        {"name": "SGD", "epsilon": 0.3},
        {
            "name": "Momentum",
            "epsilon": 0.3,
            "forgetting_rate": 2.0,
            "averaged": True,
            "label": "heavy",
        },
    ]
    plan = make_plan(spec(grid={"dynamics": tables}))
    assert plan.axes[0].labels == ("SGD", "heavy")
    assert plan.points[1].settings.dynamics.arguments == {
        "epsilon": 0.3,
        "forgetting_rate": 2.0,
        "averaged": True,
    }


def test_nested_parts_and_a_user_s_own_module(tmp_path):
    (tmp_path / "my_losses.py").write_text(
        "import jax.numpy as jnp\nimport levysde as ls\n\n"
        "def bowl(stiffness):\n    return ls.Quadratic(hessian=stiffness * jnp.eye(2))\n"
    )
    table = spec(
        run__landscape={"name": "my_losses:bowl", "stiffness": 2.0}, grid={"stiffness": [1.0, 2.0]}
    )
    table["run"]["dynamics"]["scale"] = {"name": "hessian_aligned", "batch_size": 10}
    assert len(make_plan(table, tmp_path).points) == 2


MALFORMED = [
    (
        spec(run__dynamics={"name": "SGD", "epsilom": 0.1}, grid={"alpha": [1.5]}),
        "run.dynamics.epsilom",
        "epsilon",
    ),
    (spec(run__nun=3), "run.nun", "num"),
    (spec(tittle="x"), "tittle", "title"),
    (spec(run__dynamics__name="SGDD"), "run.dynamics.name", "SGD"),
    (spec(run__dynamics__name="Quadratic"), "run.dynamics.name", "no dynamics"),
    (spec(run__num="many"), "run.num", "valid integer"),
    (spec(run__num=-1), "run.num", "greater than or equal to 1"),
    (spec(run__num=None), "run.num", "missing"),
    (spec(run__domain=None), "run.domain", "missing"),
    (spec(run__domain__radius=None), "run.domain.radius", "needs this field"),
    (spec(run__domain__radius=-1.0), "run.domain", "radius must be positive"),
    (spec(run__domain__radius=float("nan")), "run.domain.radius", "finite"),
    (spec(run__start=[0.0]), "run.start", "2 numbers"),
    (spec(run__start=[3.0, 0.0]), "run.start", "outside"),
    (spec(grid={"alpha": [2.5]}), "run.driver", "alpha must lie in (0, 2]"),
    (spec(grid={"alpha": []}), "grid.alpha", "not empty"),
    (spec(grid={"alpha": [1.5, 1.5]}), "grid.alpha", "twice"),
    (spec(grid={"alpha": 1.5}), "grid.alpha", "list of values"),
    (spec(grid={"alpa": [1.5]}), "grid.alpa", "alpha"),
    (spec(grid={"name": [1.5]}), "grid.name", "several settings end so"),
    (spec(grid={"alpha": {"low": 1.0, "high": 2.0}}), "grid.alpha.num", "missing"),
    (
        spec(grid={"epsilon": {"low": 0.0, "high": 2.0, "num": 3, "spacing": "log"}}),
        "grid.epsilon",
        "above 0",
    ),
    (
        spec(grid={"epsilon": {"low": 0.1, "high": 2.0, "num": 10**7}}),
        "grid.epsilon.num",
        "less than or equal",
    ),
    (
        spec(grid={n: {"low": 0.1, "high": 1.9, "num": 10**4} for n in ("alpha", "epsilon")}),
        "grid",
        "100,000,000 points",
    ),
    (spec(grid={}), "[grid]", "neither"),
    (spec(list={"alpha": [1.2]}), "[grid]", "both"),
    (spec(grid=None, list={"alpha": [1.2], "epsilon": [0.1, 0.2]}), "list", "same length"),
    (spec(grid=None, list={"alpha": [1.2, 1.2]}), "list", "two points"),
    (
        spec(run__kernel__dt={"of": "max_time"}, run__max_time={"of": "dt"}),
        "run.kernel.dt",
        "refers to itself",
    ),
    (spec(run__kernel__dt={"of": "kernel.dt"}), "run.kernel.dt", "refers to itself"),
    (spec(run__kernel__dt={"of": "nothing"}), "run.kernel.dt.of", "no setting"),
    (spec(run__kernel__dt={"of": "epsilon", "tims": 2}), "run.kernel.dt.tims", "times"),
    (spec(run__kernel__dt={"of": "epsilon", "power": 1e9}), "run.kernel", "dt"),
    (spec(experiment="escapes"), "experiment", "escape"),
    (spec(experiment="nowhere:thing"), "experiment", "cannot be imported"),
    (spec(seed=-1), "seed", "greater than or equal to 0"),
    (spec(seed=True), "seed", "valid integer"),
    (spec(coupled="yes"), "coupled", "boolean"),
    (spec(run__driver={"name": "Brownian"}, grid={"epsilon": [0.3]}), "run.max_time", "budget"),
    (spec(run__training={"optimizer": "sgd"}), "run.training", "no network"),
    (spec(run__landscape__hessian=[[1.0, 0.0], [1.0]]), "run.landscape", "hessian"),
    (spec(run__landscape=3), "run.landscape", "valid dictionary"),
]


@pytest.mark.parametrize(
    ("table", "path", "words"), MALFORMED, ids=[f"{path}-{words}" for _, path, words in MALFORMED]
)
def test_a_malformed_spec_is_refused_by_its_path(table, path, words):
    with pytest.raises(SpecError) as caught:
        make_plan(table)
    message = str(caught.value)
    assert path in message
    assert words in message


JUNK: list[Any] = [
    float("nan"),
    float("inf"),
    -float("inf"),
    "",
    "x",
    "ünï✓",
    "\x00",
    [],
    {},
    [[]],
    [{}],
    {"of": "of"},
    {"": 1},
    -1,
    0,
    2**70,
    1e308,
    -1e-300,
    True,
    [1, "a", None][:2],
    {"name": "SGD"},
    {"name": ""},
    {"name": 3},
    "a" * 5000,
    [[1.0]] * 3,
]


def mutated(random: random.Random) -> tuple[dict[str, Any], str]:
    """A spec with one thing wrong, and the name of the field it was done to."""
    table = spec()
    tables: list[dict[str, Any]] = []

    def walk(value: dict[str, Any]) -> None:
        tables.append(value)
        for inner in value.values():
            if isinstance(inner, dict):
                walk(inner)

    walk(table)
    target = random.choice(tables)
    key = random.choice(sorted(target))
    kind = random.randrange(4)
    if kind == 0:
        target[key] = random.choice(JUNK)
    elif kind == 1:
        name = "".join(
            random.choice(string.ascii_letters + "é-. _") for _ in range(random.randrange(1, 12))
        )
        target[name] = target.pop(key)
        key = name
    elif kind == 2:
        target.pop(key)
    else:
        name = key + random.choice("xyz_é")
        target[name] = random.choice(JUNK)
        key = name
    return table, key


def test_of_hundreds_of_damaged_specs_each_is_refused_in_words_or_still_means_something():
    draw = random.Random(0)
    refused = 0
    for _ in range(300):
        table, key = mutated(draw)
        try:
            make_plan(table)
        except SpecError as error:
            message = str(error)
            refused += 1
            assert 10 < len(message) < 2000, (key, message)
            assert len(message.splitlines()) <= 6
            assert any(word in message for word in (*SPEC, *SPEC["run"], key, "spec")), (
                key,
                message,
            )
    assert refused > 240  # the rest, a missing title or another number, are specs


def test_the_command_prints_one_message_and_no_traceback(tmp_path):
    runner = CliRunner()
    for text in (
        "a = [",
        "run = 3\n",
        "[grid]\nalpha = [nan]\n",
        "\ud800".encode("utf-8", "surrogatepass"),
    ):
        path = tmp_path / "bad.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        outcome = runner.invoke(cli.app, ["sweep", str(path), "--out", str(tmp_path / "out")])
        assert outcome.exit_code == 2
        assert outcome.output.startswith("levysde: ")
        assert "Traceback" not in outcome.output
        assert not (tmp_path / "out").exists()


def test_dates_and_deep_nesting_are_refused(tmp_path):
    (tmp_path / "date.toml").write_text("[run]\nnum = 2020-01-01\n[grid]\nalpha = [1.5]\n")
    with pytest.raises(SpecError, match=r"run\.num: must be a number"):
        read_spec(tmp_path / "date.toml")
    deep: dict[str, Any] = {}
    inner = deep
    for _ in range(500):
        inner["a"] = {}
        inner = inner["a"]
    with pytest.raises(SpecError, match="deeper"):
        make_plan(spec(run=deep))


def test_the_seed_of_the_check_of_a_law_is_that_of_the_documented_runs():
    """Recorded with the names of version 0.1.0."""
    from levysde.sweeps.main_job import MainJobSettings, check_seed

    assert check_seed(0, MainJobSettings(predicted_steps=30.0)) == 17983840582453161002
