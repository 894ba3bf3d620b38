"""How objects print: results as small tables, text and HTML with the same words; parts as one would
type them."""

import ast
import copy
import dataclasses
import pickle
import re
import xml.etree.ElementTree as ET

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from calls import small
from scipy.stats import chi2
from sweeping import SPEC
from test_imports import public_names

import levysde as ls
from levysde import analysis, escape, networks, protocols, stats, studies, sweeps, tables, theory
from levysde.networks.basin_measure import BasinMeasure
from levysde.networks.curvature import Spectrum
from levysde.networks.gradient_covariance import Alignment, GradientCovariance
from levysde.networks.gradient_noise import TailIndex
from levysde.networks.noise_tails import LayerTail, NoiseTails
from levysde.noise import scales
from levysde.results import Result, load
from levysde.stats import Estimate
from levysde.sweeps.fits import EndRatio
from levysde.sweeps.store import lay_out
from levysde.tables import Grid, Heading, Table, Tabled

NAN = float("nan")
E = Estimate(1.5, 1.4, 1.6)
WELL = ls.Quadratic(hessian=[[1.0, 0.0], [0.0, 4.0]])
SGD = ls.SGD(WELL, ls.StableComponents(alpha=1.5), epsilon=0.1)
BALL = ls.Ball(radius=1.0, center=[0.0, 0.0])
INFO = escape.RunInfo(
    kernel="EulerMaruyama(SGD, StableComponents)",
    domain="Ball",
    unit="SDE time",
    dt=0.01,
    seed=7,
    num=4,
    lanes=16,
    workers=2,
    device="cpu: any",
    versions={"jax": "0.9.9", "numpy": "2.0"},
    seconds=2.0,
    compile_seconds=1.0,
    lane_steps=2000,
    live_steps=1500,
)


def run(time, status, label=None):
    status = np.array(status, np.int8)
    exited = status == ls.Status.EXITED
    places = np.zeros((len(status), 2), np.float32)
    label = np.asarray(exited if label is None else label, np.int32)
    steps = (100 * np.nan_to_num(np.array(time, float))).astype(np.uint32)
    return ls.EscapeResult(
        np.array(time, float), exited, label, places, places, steps, status, INFO
    )


def law(**changed):
    given = dict(
        rate=0.025,
        rate_error=0.0,
        measure=0.79,
        alpha=1.5,
        epsilon=0.1,
        regime=0.0158,
        stiffness=4.0,
        star_shaped=True,
        ray_distance=np.ones(4),
        ray_share=np.array([0.5, 0.5, 0.0, 0.0]),
        ray_direction=np.ones((4, 2)),
        normalization="true",
        response="linear",
        name="stable escape law of SGD with StableComponents",
        assumptions=(
            "The noise amplitude is small.",
            "The start is inside & away from the boundary.",
        ),
    )
    return theory.EscapeLaw(**given | changed)


def comparison(**changed):
    given = dict(
        mean=E,
        reference=E,
        ratio=E,
        exact=E,
        exact_ratio=E,
        exponentiality=stats.Exponentiality(E, 1.2, 0.23),
        exits=90,
        num=100,
        censored_share=0.1,
        regime=0.3,
        one_step_chance=1e-5,
        skeleton_bias=0.03,
        dt=0.01,
        unit="SDE time",
        name="a law",
        warnings=("rate over relaxation is 0.3: the law is a limit, take a smaller epsilon. " * 3,),
    )
    return analysis.Comparison(**given | changed)


def paths(num=3):
    zeros, points = np.zeros(num), np.zeros((num, 2))
    return ls.Paths(
        times=np.array([0.0, 1.0]),
        steps=np.array([0, 10]),
        positions=np.zeros((num, 2, 2)),
        ids=np.arange(num, dtype=np.uint64),
        end_time=zeros,
        end_step=zeros,
        exited=zeros > 1,
        label=zeros,
        last_inside=points,
        first_outside=points,
        status=np.full(num, ls.Status.CENSORED),
        unit="SDE time",
        seed=1,
        kernel="K",
        domain="Ball",
    )


def diagnosis(**changed):
    network = ls.from_network(
        lambda w, x, y: (w @ x - y) ** 2,
        jnp.ones(2),
        jnp.ones((3, 2)),
        jnp.ones(3),
        weight_decay=0.1,
    )
    given = dict(
        landscape=network,
        layers=(("w", 2),),
        loss=0.1,
        loss_spread=0.01,
        gradient_norm=1e-9,
        descent=0.0,
        kink=False,
        hessian=SPECTRUM,
        covariance=COVARIANCE,
        alignment=ALIGNMENT,
        tails=TAILS,
        excess=0.01,
        alpha=1.9,
        measured=True,
        stable_noise="components",
        height=0.05,
        measures={"sgd": MEASURE},
        predictions={"sgd": PREDICTED},
        simulated=SIMULATED,
        left_out="",
        optimizer="sgd",
        learning_rate=0.1,
        batch_size=2,
        delta=1e-8,
        warnings=("<b>careful</b>",),
        seconds={},
        memory_bytes=0,
    )
    return ls.Diagnosis(**given | changed)


def noise(**changed):
    given = dict(
        name="clipped stable",
        reason="clipped stable has a log evidence 3.1 above that of two normals",
        law="One jump.",
        driver="ls.TruncatedComponents(alpha=1.5, cutoff=3 * learning_rate**(1/1.5), tries=3)",
        scale=0.1,
        fits=(dataclasses.replace(FIT, name="stable", parameters={"alpha": 1.5}), FIT),
        size=np.array([1.0, 2.0]),
        share=np.array([0.5, 0.0]),
        correlation=0.01,
        size_correlation=0.02,
        clipped=4,
        num_values=5000,
        dim=3,
        norms=False,
        warnings=("careful",),
    )
    return stats.NoiseClass(**given | changed)


INDEX = TailIndex(E, E, np.array([1.4, NAN, 1.6]))
SPECTRUM = Spectrum(
    np.array([4.0, 1.0]),
    np.eye(2),
    1.0,
    E,
    E,
    np.ones(2),
    np.array([1.0, 4.0]),
    np.array([0.5, 0.5]),
    True,
    3,
)
COVARIANCE = GradientCovariance(
    np.array([1.0, 0.0]), np.array([1.0]), np.ones((2, 1)), E, np.zeros(2), 3
)
ALIGNMENT = Alignment(E, E, np.ones(2), np.ones(2), 0.9, 0.5)
LAYER = LayerTail("w", 2, 0.5, E, E, E)
TAILS = NoiseTails(
    np.arange(2), INDEX, INDEX, (LAYER,) * 14, E, E, np.zeros(2), np.array([True, False]), 400, 2
)
MEASURE = BasinMeasure(
    E, 1.5, 4, 4, float("inf"), 0.5, 1.0, 0.0, np.arange(2), np.ones(2), np.ones(2)
)
PREDICTED = networks.PredictedEscape(E, 0.1, 0.02, 0.3)
SIMULATED = networks.SimulatedEscape(E, 3, 4, 1000, run([1, 2, 3, 10], [1, 1, 1, 2]))
MINIMUM = networks.Minimum(np.zeros(2), 0.1, 1e-16, 0.01, 3.0, np.eye(2), 0.5)
NOTHING = Estimate(NAN, NAN, NAN)
TRACK = networks.Track(
    iteration=np.array([0, 10_000]),
    loss=np.array([2.3, NAN]),
    noise=("heavy-tailed, not stable", ""),
    tail_index=(E, NOTHING),
    sharpness=np.array([12.3, NAN]),
    batch_sharpness=(E, NOTHING),
    preconditioned_sharpness=np.array([12345.6, NAN]),
    escape=(E, NOTHING),
    optimizer="sgd",
    learning_rate=0.1,
    batch_size=32,
    warnings=("at iteration 10,000 not everything was measured: <b>",),
)
NOISE = networks.GradientNoise(
    np.array([0.1, 0.0, 0.3]), 1.5, np.ones(3), INDEX, INDEX, 1, 30, 2000
)
POINT = theory.StationaryPoint(np.zeros(2), 0.1, np.array([-1.0, 2.0]))
PLAN = sweeps.make_plan(SPEC)
CLAIM = studies.Claim("mean", "Means are exponential in 1/D | really", "eq. 3", "a line", "a curve")
VERDICT = studies.Verdict(CLAIM, "holds only if", "1.0 [0.9, 1.1]", "5%", "D is small")
MEAN = Estimate(5.0, 4.0, 6.0)

FIT = stats.NoiseFit(
    "two normals",
    "clipped",
    {"scale": 1e-10, "dimension": 1.84e7, "weight": 5.91e-10, "ratio": 5.28e8, "end": 0.00473},
    -12345.6,
    0.012,
    np.array([1.0, 0.5]),
)
EXAMPLES = [
    E,
    stats.Exponentiality(E, 1.2, 0.23),
    stats.LogRank(1.5, 0.13),
    stats.StableFit(E, E),
    stats.SkewedStableFit(E, E, E, E),
    stats.HillFit(E, 30, 2.5),
    stats.HillCurve(
        np.arange(10, 20), np.full(10, 1.5), np.ones(10), np.full(10, 2.0), 15, 1000, 0.95
    ),
    stats.SurvivalCurve(
        np.arange(1.0, 5), np.array([0.9, 0.5, 0.3, 0.0]), np.zeros(4), np.ones(4), 0.95
    ),
    stats.TailFinding("tail", -4.2, True, "the far tail is heavier than stable"),
    stats.TailReport(
        {"characteristic function": E}, {5: E}, (stats.TailFinding("tail", 0.2, False, "no"),), 1000
    ),
    stats.DirectionalIndex(np.array([1.4, NAN, 1.6]), np.eye(3)),
    FIT,
    noise(),
    noise(norms=True, scale=NAN, driver="ls.StableIsotropic(alpha=1.5)", dim=1),
    noise(name="too short to tell", fits=(), driver="", scale=NAN, dim=1, warnings=()),
    stats.NoiseLog(
        "a/noise.npz", {"g": np.ones((5, 2)), "norm": np.ones(5)}, np.arange(5), ("odd",)
    ),
    law(),
    law(rate=0.0, star_shaped=False, alpha=NAN, normalization="printed"),
    POINT,
    theory.KramersLaw(
        -1000.0,
        np.array([1.0, 2.0]),
        np.array([0.7, 0.3]),
        POINT,
        (POINT, POINT),
        1e-3,
        0.5,
        "saddle",
    ),
    theory.MinibatchLaw(
        2000.0, 2000.0, (0.5, 0.5), 0.1, "saddle", "corrected", "Xie", ("B is small",)
    ),
    theory.MetastableChain(
        np.array([[-np.inf, 0.0], [1.0, -np.inf]]), np.zeros((2, 1)), "wells", ("D is small",)
    ),
    theory.MetastableChain(np.full((2, 2), -np.inf), np.zeros((2, 1)), "wells apart", ()),
    theory.Residence(-400.0, "the stay in well 0", ("D is small",), "SDE time"),
    theory.Conditions(0.01, 1e-4, NAN, ("the step is coarse",)),
    theory.FirstPassage(np.inf, np.inf, 1000.0, 0.5, 1e-9),
    theory.StableExit(2.0, 8.0, NAN, 1e-6, ()),
    theory.QuasiPotential(np.eye(2), np.eye(2), np.zeros(2), np.eye(2)),
    small.action(),
    theory.Committor((np.arange(3.0), np.arange(3.0)), np.eye(3), 1e-3),
    theory.StationaryCovariance(np.eye(20), np.eye(20), np.zeros((20, 20))),
    theory.JumpResponse(1.2, 0.1),
    theory.LawError(E, "forced", 1000, 0.01, 0, 10_000, 0.1),
    INFO,
    dataclasses.replace(INFO, dt=None, versions={}, seconds=0.0, compile_seconds=0.0, lane_steps=0),
    run([1, 2, 3, 10], [1, 1, 1, 2], [2, 1, 2, 0]),
    run([], []),
    run([10, 10], [2, 2]),
    run([NAN, NAN], [0, 3]),
    run([0, 0], [2, 2]),
    paths(),
    comparison(),
    comparison(
        exact=None,
        exact_ratio=None,
        exponentiality=None,
        regime=NAN,
        dt=None,
        one_step_chance=NAN,
        skeleton_bias=NAN,
        warnings=(),
        mean=Estimate(np.inf, 3.0, np.inf),
        exits=0,
    ),
    diagnosis(),
    diagnosis(
        measures={},
        predictions={},
        simulated=None,
        left_out="num_escapes=0",
        learning_rate=None,
        warnings=(),
    ),
    PREDICTED,
    SIMULATED,
    SPECTRUM,
    COVARIANCE,
    ALIGNMENT,
    LAYER,
    TAILS,
    MEASURE,
    INDEX,
    NOISE,
    MINIMUM,
    TRACK,
    dataclasses.replace(TRACK, optimizer="optax", learning_rate=None),
    analysis.ExitDirections(
        np.arange(12.0),
        np.eye(12),
        np.ones((5, 12)),
        np.full(12, 1 / 12),
        np.ones((12, 2)),
        np.full(12, 0.1),
        0.9,
    ),
    analysis.LastJumps(
        np.arange(2), np.zeros(2), np.ones((2, 2)), np.ones((2, 2)), np.array([0.4, NAN]), 0.5, E
    ),
    analysis.Extrapolation(
        MEAN,
        E,
        1.0,
        np.array([0.2, 0.1]),
        np.array([6.0, 5.5]),
        np.array([0.1, 0.1]),
        np.array([100, 100]),
        (1, 2),
        NAN,
        ("far",),
    ),
    analysis.Landings(
        np.arange(3),
        np.zeros((3, 2)),
        np.zeros(3),
        np.ones(3, bool),
        np.array([0, 0, -1]),
        np.zeros((2, 2)),
        (E, E),
        np.ones(3),
        np.ones(3),
    ),
    analysis.Starts(np.zeros((64, 2)), 1.0, 3.0, "SDE time"),
    sweeps.Tally(3, 1, 0, 12.5),
    PLAN,
    sweeps.SweepEstimate(PLAN, 10.0, True, 2, {"SGD": 1e7}, 2, 10_000, None, (1e6, NAN)),
    sweeps.SweepEstimate(PLAN, NAN, False, 6, {}, 0, 10_000, 10**9, ()),
    sweeps.ScalingFit(
        "epsilon",
        "power",
        "mean_time",
        {"alpha": 1.5},
        ("dt",),
        E,
        0.1,
        NAN,
        0.1,
        1.0,
        5,
        1,
        NAN,
        0,
        NAN,
        True,
    ),
    EndRatio("dt", {}, 0.01, 0.1, E, False),
    sweeps.SweepStatus(
        "runs/first",
        "first",
        20,
        3,
        7,
        ("process 1 on here: 3 of 20",),
        5.0,
        NAN,
        (("alpha=1.5", "became NaN"),),
    ),
    sweeps.SweepStatus("runs/first", "first", 20, 3, 0, (), 0.0, NAN, ()),
    CLAIM,
    VERDICT,
    studies.Reading(Estimate(-0.5, -0.6, -0.4), 0.0, float("inf"), "a product"),
    studies.Finding((VERDICT,)),
    studies.Section("first", (CLAIM,), lambda quick: {}, lambda sweeps, quick: studies.Finding(())),
    studies.Study(
        "rates",
        "nobody",
        (studies.Section("first", (CLAIM,), lambda quick: {}, lambda *_: studies.Finding(())),),
    ),
]
STORED = {"Sweep", "Store"}  # of `test_a_store_and_its_sweep`
SETTINGS = {"Checkpoint", "Job", "Variable", "Work"}  # what a user types, not what comes back


def identity(example):
    return type(example).__name__


def words(example):
    tree = ET.fromstring(example._repr_html_())
    return " ".join(tree.itertext()).split()


@pytest.mark.parametrize("example", EXAMPLES, ids=identity)
def test_text_and_html_hold_the_same_words(example):
    text = repr(example)
    assert words(example) == text.split()
    assert "object at 0x" not in text
    assert "array(" not in text
    for line in text.splitlines():
        assert len(line) <= tables.WIDTH or " " not in line.strip(), line
        assert line == line.rstrip()
    html = example._repr_html_()
    for part in ("<script", "<style", "class=", "background", "url("):
        assert part not in html
    assert set(re.findall(r"color:(\w+)", html)) <= {"inherit"}  # those of the page, light or dark


@pytest.mark.parametrize("example", EXAMPLES, ids=identity)
def test_a_result_comes_back_from_another_process(example):
    if isinstance(example, networks.Diagnosis | studies.Section | studies.Study):
        pytest.skip("holds a function of the user, here a lambda")
    assert pickle.loads(pickle.dumps(example)) == example


@pytest.mark.parametrize("example", EXAMPLES, ids=identity)
def test_a_result_equals_its_copy(example):
    copied = copy.deepcopy(example)
    assert (example == copied) is True
    assert (example != copied) is False
    assert (example == "another kind") is False
    try:
        number = hash(example)
    except TypeError:  # of arrays or dictionaries
        return
    assert hash(copied) == number


def test_results_that_differ_are_unequal():
    curve = stats.SurvivalCurve(
        np.arange(1.0, 5), np.ones(4), np.zeros(4), np.array([1.0, 1.0, NAN, NAN]), 0.95
    )
    for changed in (
        {"high": np.array([1.0, 1.0, NAN, 0.9])},  # a number where the other has NaN
        {"high": np.ones(4)},
        {"time": np.arange(4.0)},
        {"time": np.arange(1.0, 6)},  # another shape
        {"time": np.ones(1)},  # equal only where shapes are broadcast
        {"confidence": 0.9},
    ):
        other = dataclasses.replace(curve, **changed)
        assert (curve == other) is False
        assert (curve != other) is True
    assert dataclasses.replace(comparison(), regime=NAN) != comparison()
    assert run([1, 2], [1, 1]) != run([1, 3], [1, 1])
    assert stats.TailFinding("tail", 1.0, True, "no") != studies.Finding((VERDICT,))
    assert (
        len({E, Estimate(1.5, 1.4, 1.6), Estimate(NAN, NAN, NAN), Estimate(float("nan"), NAN, NAN)})
        == 2
    )
    rays = ls.StableComponents(alpha=1.5).levy_rays(2, 0, 0)
    assert (rays == copy.deepcopy(rays)) is False  # by identity, for what has no result's values
    assert tables.same({"a": [1.0, NAN]}, {"a": [1.0, NAN]})
    assert not tables.same({"a": [1.0, NAN]}, {"a": (1.0, NAN)})


def test_every_result_is_compared_by_what_it_holds():
    for cls in set(public_results()) | set(below(Tabled)):
        if issubclass(cls, Tabled):
            assert cls.__eq__ is tables.Compared.__eq__, cls
            assert cls.__hash__ is tables.Compared.__hash__, cls


def public_results():
    """Classes whose objects come back from public functions, by the rooms' own lists of names."""
    for room in (stats, theory, escape, analysis, sweeps, studies):
        for name in public_names(room.__name__.split(".")[1]) - SETTINGS:
            value = getattr(room, name)
            if isinstance(value, type) and (
                dataclasses.is_dataclass(value) or issubclass(value, tuple | Tabled)
            ):
                yield value


def below(cls):
    for child in cls.__subclasses__():
        yield child
        yield from below(child)


def test_every_result_is_in_the_list():
    public = set(public_results())
    tabled = {child for child in below(Tabled) if child.__module__.startswith("levysde.")}
    assert len(public) > 40
    tried = {type(example) for example in EXAMPLES}
    names = {cls.__name__ for cls in public | tabled if cls not in tried}
    assert names == STORED | {"Result"}  # which is their base
    for cls in public | tabled:
        assert cls.__repr__ is Tabled.__repr__, cls
        assert cls._repr_html_ is Tabled._repr_html_, cls


def test_a_store_and_its_sweep(tmp_path):
    place = sweeps.Place(tmp_path / "out")
    with place.locked((0, 1)):
        store = lay_out(PLAN, place, "cpu")
    sweep = sweeps.open_sweep(tmp_path / "out")
    for found in (store, sweep):
        assert words(found) == repr(found).split()
        assert "small" in repr(found)
    assert "6: 0 done, 0 failed, 6 to run" in repr(sweep)
    assert repr(place) == f"Place({str(tmp_path / 'out')!r})"


def row(example, label):
    found = [
        line[1] for line in example._table().lines if isinstance(line, tuple) and line[0] == label
    ]
    assert len(found) == 1, (label, repr(example))
    return found[0]


def test_a_run_by_hand():
    result = run([1, 2, 3, 10], [1, 1, 1, 2], [2, 1, 2, 0])
    # 16 units at risk, 3 exits, one censored
    low, high = (2 * 16 / chi2.isf(0.025, 8), 2 * 16 / chi2.ppf(0.025, 6))
    assert row(result, "trajectories") == "4: 3 exited, 1 censored"
    assert row(result, "mean escape time (SDE time)").startswith(
        f"{16 / 3:.4g} [{low:.4g}, {high:.4g}]  (95% interval"
    )
    assert row(result, "exit sets, share of exits") == "1: 33.3%, 2: 66.7%"
    assert row(result, "steps") == "1600, at most 1000 in one trajectory"
    assert row(result, "seed") == "7"
    assert row(result, "jax") == "0.9.9"
    assert row(result, "device") == "cpu: any, 2 workers of 16 lanes"
    assert row(result, "speed") == "1.5e+03 trajectory-steps/s, useful work 0.75"
    assert row(run([10, 10], [2, 2]), "mean escape time (SDE time)").startswith("inf [6.676, inf]")
    for nothing in (run([], []), run([NAN, NAN], [0, 3])):
        assert row(nothing, "mean escape time (SDE time)") == "none"
    spoiled = run([NAN, 2.0], [3, 1])
    assert row(spoiled, "mean escape time (SDE time)").startswith("2 [")
    assert repr(spoiled).endswith(
        "\n  warning: 1 of 2 became NaN or infinite: left out of the mean"
    )


def test_laws_by_hand():
    assert row(law(), "mean escape time (SDE time)") == "40"
    assert row(law(), "noise directions that leave") == "2 of 4"
    kramers = next(example for example in EXAMPLES if isinstance(example, theory.KramersLaw))
    assert row(kramers, "mean escape time (SDE time)") == "10^434.294"
    assert row(kramers, "rate") == "10^-434.294"
    assert row(kramers, "barriers over D") == "1000, 2000"
    joined, apart = (example for example in EXAMPLES if isinstance(example, theory.MetastableChain))
    assert row(joined, "share of time in each") == f"{np.e / (1 + np.e):.4g}, {1 / (1 + np.e):.4g}"
    assert row(apart, "mean residence (SDE time)") == "inf, inf"
    landings = next(example for example in EXAMPLES if isinstance(example, analysis.Landings))
    assert [cells[0] for cells in landings._table().lines[0].rows] == [
        "minimum 0",
        "minimum 1",
        "elsewhere",
    ]
    assert "minimum 1  1.5 [1.4, 1.6]           -" in repr(landings)  # nobody landed there


def test_the_layout():
    table = Table(
        "Title <1>",
        [
            ("short", "1"),
            Heading("part"),
            ("a longer label", "2\n3"),
            Grid(("name", "share"), [("a", "10"), ("bcdefg", "1 & 2")]),
            "a note",
        ],
        ["word " * 40],
    )
    lines = table.text().splitlines()
    assert lines[:9] == [
        "Title <1>",
        "  short           1",
        " part",
        "  a longer label  2",
        "                  3",
        "  name    share",
        "  a          10",
        "  bcdefg  1 & 2",
        "  a note",
    ]
    assert lines[9].startswith("  warning: word word")
    assert lines[10].startswith("           word word")
    tree = ET.fromstring(table.html())
    assert tree.find("caption").text == "Title <1>"
    assert tree.find(".//strong").text == "warning:"  # marked by a word, not by a colour
    assert [cell.text for cell in tree.findall(".//tr")[3]] == ["name", "share"]
    assert "text-align:right" in tree.findall(".//tr")[4][1].get("style")
    assert "monospace" in tree.findall(".//tr")[4][1].get("style")


def test_numbers_in_short():
    assert tables.spread([3.0, 1.0, NAN, 2.0]) == "1 to 3, quartiles 1, 2, 3 (1 NaN)"
    assert tables.spread([]) == "none"
    assert tables.listed(np.arange(10), most=3) == "0, 1, 2, ... (10)"
    assert tables.listed([]) == "none"
    assert [tables.from_log(log) for log in (0.0, 2e4, -2e4, np.inf, -np.inf)] == [
        "1",
        "10^8685.89",
        "10^-8685.89",
        "inf",
        "0",
    ]


TYPED = [
    ls.Brownian(),
    ls.StableComponents(alpha=1.5),
    ls.StableComponents(alpha=1.5, exact_sampler=True),
    ls.StableComponents(alpha=0.3),
    ls.StableIsotropic(alpha=1.1),
    ls.SkewedComponents(alpha=1.5, skewness=0.3),
    ls.TemperedComponents(alpha=1.5, length=2.0),
    ls.TruncatedComponents(alpha=1.5, cutoff=2.0),
    ls.StudentT(df=3.0, dt=0.1),
    ls.DriverSum(ls.Brownian(), (ls.StableComponents(alpha=1.5), 0.5)),
    ls.CompoundPoisson(intensity=1.0, jump=ls.GaussianJump(std=0.1)),
    WELL,
    ls.Quadratic(hessian=[1e-8, 3.0], minimum=[0.1, 1 / 3]),
    ls.DoubleWell(barrier=2.0, dim=2),
    ls.MuellerBrown(),
    ls.Rastrigin(3),
    ls.StyblinskiTang(4, loss_factor=0.1),
    ls.AsymmetricValley(left=3.0),
    BALL,
    ls.Box(lower=[-1.0, -2.0], upper=[1.0, 2.0]),
    ls.Ellipsoid(center=[0.0, 0.0], radii=[1.0, 2.0]),
    ls.half_space(normal=[1.0, 0.0], offset=0.5),
    ls.Intersection(BALL, ls.half_space(normal=[1.0, 0.0], offset=0.5)),
    ls.Dilated(BALL, 0.5),
    ls.Complement(BALL),
    ls.Sublevel(WELL, height=0.5),
    SGD,
    ls.Adam(WELL, ls.StableIsotropic(alpha=1.5), learning_rate=0.01),
    ls.AdamW(WELL, ls.StableIsotropic(alpha=1.5), epsilon=0.1, weight_decay=0.01),
    ls.EulerMaruyama(SGD, dt=1e-3),
    ls.OrnsteinUhlenbeck(ls.SGD(WELL, ls.Brownian(), epsilon=0.1), dt=1e-3),
    ls.LinearRegressionSGD(2, 0.1, 4),
]


@pytest.mark.parametrize("part", TYPED, ids=identity)
def test_a_part_prints_as_it_is_typed(part):
    text = repr(part)
    names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    known = {name: getattr(ls, name, None) or getattr(scales, name) for name in names}
    again = eval(text, known)
    assert again == part
    assert type(again) is type(part)
    assert jax.tree.structure(again) == jax.tree.structure(part)


def test_parts_by_hand():
    assert repr(ls.StableComponents(alpha=1.5)) == "StableComponents(alpha=1.5)"
    assert repr(BALL) == "Ball(radius=1.0, center=[0.0, 0.0])"
    assert repr(ls.Ball(radius=1.0, center=jnp.zeros(20))) == "Ball(radius=1.0, center=f32[20])"
    assert repr(ls.EulerMaruyama(SGD, dt=1e-3)) == (
        "EulerMaruyama(\n"
        "    SGD(\n"
        "        Quadratic(hessian=[[1.0, 0.0], [0.0, 4.0]], minimum=[0.0, 0.0]),\n"
        "        StableComponents(alpha=1.5),\n"
        "        epsilon=0.1,\n"
        "        scale=ScalarScale(noise_factor=1.0),\n"
        "    ),\n"
        "    dt=0.001,\n"
        ")"
    )
    network = diagnosis().landscape
    assert (
        repr(network)
        == "NetworkLandscape(loss=<lambda>, inputs=f32[3,2], targets=[1.0, 1.0, 1.0], "
        "weight_decay=0.1, dim=2)"
    )
    assert (
        repr(ls.StableComponents(alpha=1.5).levy_rays(3, 0, 0))
        == "LevyRays(directions=f64[6,3], weights=f64[6], index=1.5)"
    )


def test_a_part_that_jax_traces_or_holds_no_numbers():
    seen = []

    def look(ball):
        seen.append(repr(ball))
        return ball.radius

    jax.jit(look)(BALL)
    jax.vmap(look)(jax.tree.map(lambda leaf: leaf[None], BALL))
    assert seen == ["Ball(radius=f32[], center=f32[2])"] * 2
    assert repr(jax.eval_shape(lambda: BALL)) == "Ball(radius=f32[], center=f32[2])"
    assert repr(jax.tree.map(lambda leaf: None, BALL)) == "Ball(radius=None, center=None)"
    gone = jax.tree.map(jnp.copy, BALL)
    jax.tree.map(lambda leaf: leaf.delete(), gone)
    assert repr(gone) == "Ball(radius=f32[], center=f32[2])"
    assert (
        repr(object.__new__(ls.Ball)) == "Ball(radius=None, center=None)"
    )  # before its `__init__` has run


@pytest.mark.parametrize(
    "interface",
    [
        protocols.Driver,
        protocols.Scale,
        protocols.Landscape,
        protocols.Domain,
        protocols.Dynamics,
        protocols.Kernel,
    ],
    ids=lambda cls: cls.__name__,
)
def test_no_part_has_a_layout_of_its_own(interface):
    parts = [cls for cls in below(interface) if cls.__module__.startswith("levysde.")]
    assert len(parts) >= 5
    assert {cls.__repr__ for cls in parts} == {protocols.Part.__repr__}


def test_every_result_comes_back_from_a_file_or_says_why_not(tmp_path):
    for example in [example for example in EXAMPLES if isinstance(example, Result)]:
        if isinstance(example, networks.Diagnosis):
            with pytest.raises(TypeError, match="cannot be saved: its landscape is"):
                example.save(tmp_path / "saved.npz")
            continue
        example.save(tmp_path / "saved.npz")
        loaded = load(tmp_path / "saved.npz")
        assert loaded == example
        assert repr(loaded) == repr(example)
