"""Scaling fits against closed forms, and the report of sweeps in every state."""

import html.parser
import re
import tomllib

import numpy as np
import pytest
from statistical import assert_close

from levysde import stats
from levysde.escape import Status
from levysde.sweeps import (
    Experiment,
    Model,
    Variable,
    driver,
    engines,
    open_sweep,
    report,
    report_figures,
    run_sweep,
    scaling_fits,
)
from levysde.sweeps.fits import Line, fit_line, joint_draws
from levysde.sweeps.report import render, write_report
from levysde.sweeps.rows import Row
from levysde.sweeps.spec import as_toml

UNIT = "SDE time"


class ToySettings(Model):
    epsilon: float = 0.1
    alpha: float = 1.5
    dt: float = 0.01
    num: int = 200
    law: bool = True
    barrier: float = 0.0
    limit: float = np.e**20
    off_law: float = 0.0  # power of epsilon by which times are off the law
    private: float = 1.0  # share of a trajectory's noise that is the point's own
    word: str = ""
    fault: str = ""


class Toy(Experiment):
    """Exponential times of mean epsilon^-alpha exp(barrier/epsilon), censored at `limit` means."""

    name = "toy"
    settings = ToySettings

    def check(self, settings):
        pass

    def variables(self, points):
        num = max(p.num for p in points)
        rows = ("trajectory",), (num,)
        names = [f"{name}{end}" for name in ("mean_time", "ratio") for end in ("", "_low", "_high")]
        names += ["predicted_mean", "escapes", "censored", "shape", "p_exponential"]
        return (
            Variable("time", "float64", "time", UNIT, *rows),
            Variable("status", "int8", "status", "1", *rows),
            *(Variable(name, "float64", name, UNIT if "mean" in name else "1") for name in names),
            Variable("warnings", "str", "warnings", ""),
        )

    def run(self, settings, job):
        if settings.fault:
            raise ValueError(settings.fault)
        rng = np.random.default_rng(job.seed)
        shared = rng.exponential(size=settings.num)
        own = np.random.default_rng([job.seed, int(1e6 * settings.epsilon)])
        mean = settings.epsilon**-settings.alpha * np.exp(settings.barrier / settings.epsilon)
        keep = own.random(settings.num) >= settings.private
        return mean, np.where(keep, shared, own.exponential(size=settings.num))

    def columns(self, settings, outcome, job):
        mean, unit_times = outcome
        exited = unit_times < settings.limit
        time = mean * settings.epsilon**settings.off_law * np.minimum(unit_times, settings.limit)
        found = stats.mean_time(time, exited)
        status = np.where(exited, Status.EXITED, Status.CENSORED)
        columns = {
            "time": time,
            "status": status,
            "escapes": exited.sum(),
            "censored": (~exited).sum(),
        }
        columns |= {
            "mean_time": found.value,
            "mean_time_low": found.low,
            "mean_time_high": found.high,
        }
        if settings.law:
            ratios = (found.value / mean, found.low / mean, found.high / mean)
            columns |= dict(zip(("ratio", "ratio_low", "ratio_high"), ratios, strict=True)) | {
                "predicted_mean": mean
            }
        text = (
            f"dt = {settings.dt:g} makes exits late by <em>&\nsecond"
            if settings.epsilon > 0.15
            else ""
        )
        return columns | {"shape": 1.0, "p_exponential": 0.5, "warnings": text}


class BareSettings(Model):
    x: float = 1.0


class Bare(Experiment):
    """An experiment of another kind: two numbers, a count and a word a point."""

    name = "bare"
    settings = BareSettings

    def check(self, settings):
        pass

    def variables(self, points):
        return (
            Variable("value", "float64", "a number <i>", "kg"),
            Variable("count", "int32", "a count"),
            Variable("comment", "str", "a word", ""),
        )

    def run(self, settings, job):
        return settings.x

    def columns(self, settings, outcome, job):
        return {"value": 2 * outcome, "count": 3, "comment": "a <b> & ünicode"}


TOY, BARE = Toy(), Bare()


@pytest.fixture(autouse=True)
def _few_curves(monkeypatch):
    """Pictures take most of a report's time."""
    monkeypatch.setattr(report_figures, "MOST_CURVES", 2)


EPSILONS = [0.05, 0.07, 0.1, 0.14, 0.2]


def sweep_of(folder, run=None, *, experiment="TOY", **more):
    spec = {"experiment": f"{__name__}:{experiment}", "run": run or {}} | more
    if not {"grid", "list"} & set(spec):
        spec["grid"] = {"epsilon": EPSILONS}
    run_sweep(spec, folder)
    return open_sweep(folder)


class Page(html.parser.HTMLParser):
    """Tags with their attributes, and whether they are closed in order."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


def page_of(sweep):
    return checked(render(sweep))


def checked(text):
    """The parsed report, checked for what every report must be."""
    page = Page(text)
    assert not re.search(r"https?:|//[a-z]|@import|<script|javascript:", text, re.IGNORECASE)
    ids = [about["id"] for _, about in page.tags if "id" in about]
    assert len(ids) == len(set(ids))
    links = [
        value
        for _, about in page.tags
        for name, value in about.items()
        if name in ("href", "xlink:href", "src")
    ]
    links += re.findall(r"url\(([^)]*)\)", text)
    assert links
    assert {link[0] for link in links} == {"#"}
    assert {link[1:] for link in links} <= set(ids)
    assert "#010203" not in text
    assert "nan" not in re.findall(r"\w+", page.text.lower().replace("nan_", ""))
    return page


def test_slope_of_a_power_law(tmp_path):
    sweep = sweep_of(tmp_path / "s", {"num": 4000, "alpha": 1.3})
    (fit,) = scaling_fits(sweep)
    u = np.log(EPSILONS)
    closed = 1 / np.sqrt(4000 * np.sum((u - u.mean()) ** 2))  # equal weights
    error = (fit.slope.high - fit.slope.low) / 2 / 1.959964
    assert error == pytest.approx(closed, rel=1e-6)
    assert_close(fit.slope.value, error, -1.3, 0.1)
    assert fit.slope.value == pytest.approx(
        np.polyfit(u, np.log(sweep.data["mean_time"].values), 1)[0]
    )
    assert fit.theory_slope == pytest.approx(-1.3)
    assert (fit.axis, fit.form, fit.points, fit.freedom, fit.coupled) == (
        "epsilon",
        "power",
        5,
        3,
        False,
    )
    assert fit.p_value > 1e-4
    np.testing.assert_allclose(fit.predict([0.05, 0.2]), [0.05**-1.3, 0.2**-1.3], rtol=0.1)
    assert "independent noise" in repr(fit)
    (ratio,) = scaling_fits(sweep, "epsilon", "ratio")
    assert ratio.slope.value == pytest.approx(fit.slope.value + 1.3)


def test_slope_of_kramers_law(tmp_path):
    sweep = sweep_of(tmp_path / "s", {"num": 4000, "alpha": 0.0, "barrier": 0.3, "law": False})
    (fit,) = scaling_fits(sweep, form="exponential")
    assert_close(fit.slope.value, (fit.slope.high - fit.slope.low) / 2 / 1.96, 0.3, 0.1)
    assert np.isnan(fit.theory_slope)
    assert fit.p_value > 1e-4
    (bent,) = scaling_fits(sweep, form="power")
    assert bent.p_value < 1e-6
    assert scaling_fits(sweep, quantity="ratio") == ()


@pytest.mark.parametrize("private", [1.0, 0.3])
def test_intervals_cover_as_often_as_they_say(private):
    """Of independent points by the formula, of coupled ones by the bootstrap; here on arrays,
    without a store."""
    x, num, runs, alpha = np.array([0.5, 1.0, 2.0, 4.0]), 200, 400, 1.5
    rng = np.random.default_rng(5)
    inside, p_values = [], []
    for k in range(runs):
        unit = np.where(
            rng.random((4, num)) < private,
            rng.exponential(size=(4, num)),
            rng.exponential(size=num),
        )
        scale = x[:, None] ** alpha
        time, exited = scale * np.minimum(unit, 1.5), unit < 1.5  # a fifth is censored
        counts = exited.sum(1)
        rows = tuple(
            Row(
                (i,),
                {"x": x[i]},
                "done",
                dict(mean_time=time[i].sum() / counts[i], escapes=float(counts[i])),
                {},
                (),
                "",
                0,
            )
            for i in range(4)
        )
        covariance = np.diag(1 / counts)
        if private < 1:
            covariance = np.cov(joint_draws(time, np.where(exited, 1, 2), 150, k), rowvar=False)
        fit = fit_line(
            Line(rows, covariance, {}, (), 0), "x", "mean_time", "power", 0.95, private < 1
        )
        assert fit is not None
        inside.append(fit.slope.low <= alpha <= fit.slope.high)
        p_values.append(fit.p_value)
    assert_close(float(np.mean(inside)), np.sqrt(0.05 * 0.95 / runs), 0.95, 0.06)
    assert_close(float(np.mean(p_values)), np.sqrt(1 / 12 / runs), 0.5, 0.2)


def test_coupled_points(tmp_path):
    """Points of the same noise have the same relative error, which no slope sees; half of it, and
    it is between."""
    widths = {}
    for private in (0.0, 0.5, 1.0):
        sweep = sweep_of(tmp_path / f"{private}", {"private": private, "num": 1000}, coupled=True)
        (fit,) = scaling_fits(sweep, resamples=300)
        assert fit.coupled
        assert "bootstrap of trajectory ids" in repr(fit)
        widths[private] = fit.slope.high - fit.slope.low
    (plain,) = scaling_fits(sweep_of(tmp_path / "plain", {"num": 1000}))
    independent = plain.slope.high - plain.slope.low
    assert widths[0.0] < 1e-7
    assert 0.5 < widths[0.5] / independent < 0.95
    assert widths[1.0] / independent == pytest.approx(1, abs=0.2)
    again, other = (scaling_fits(sweep, resamples=300, seed=seed)[0].slope.low for seed in (0, 1))
    assert again == fit.slope.low
    assert other != again


def test_joint_draws_have_the_covariance_of_the_delta_method():
    rng = np.random.default_rng(0)
    shared = rng.exponential(size=500)
    time = np.stack([shared, shared + rng.exponential(size=500), rng.exponential(size=500)])
    status = rng.choice([0, 1, 1, 1, 2, 3], size=time.shape)
    used, exited = (status == 1) | (status == 2), status == 1
    risk = np.where(used, time, 0.0)
    influence = risk / risk.sum(1, keepdims=True) - exited / exited.sum(1, keepdims=True)
    exact = influence @ influence.T
    draws = joint_draws(time, status, 4000, 1)
    size = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    assert np.abs(np.cov(draws, rowvar=False) - exact).max() < 0.1 * size.max()
    assert exact[0, 1] > 0.3 * size[0, 1]  # there was something to see


def test_lines_of_a_grid_and_of_a_list(tmp_path):
    sweep = sweep_of(
        tmp_path / "grid", grid={"epsilon": EPSILONS, "alpha": [1.2, 1.6], "num": [100, 120, 140]}
    )
    fits = scaling_fits(sweep)
    # two alphas make no line, and num changes nothing
    assert {fit.axis for fit in fits} == {"epsilon"}
    assert [tuple(fit.at.items()) for fit in fits][:2] == [
        (("alpha", 1.2), ("num", 100)), (("alpha", 1.2), ("num", 120)),
    ]  # fmt: skip
    assert [round(fit.theory_slope, 6) for fit in fits] == [-1.2] * 3 + [-1.6] * 3
    assert len(scaling_fits(sweep, "num")) == 10
    walked = sweep_of(
        tmp_path / "list", list={"epsilon": EPSILONS, "dt": [0.1, 0.2, 0.3, 0.4, 0.5]}
    )
    (fit,) = scaling_fits(walked)
    assert (fit.along, fit.at) == (("dt",), {})
    assert "along with it" in repr(fit)
    text = page_of(walked).text
    assert "Along epsilon, together with dt" in text
    assert "no two finished points differ in it alone" in text
    mixed = sweep_of(
        tmp_path / "mixed", list={"epsilon": [*EPSILONS, 0.1], "alpha": [1.5] * 3 + [1.2] * 3}
    )
    assert [(fit.at, fit.points, fit.along) for fit in scaling_fits(mixed, "epsilon")] == [
        ({"alpha": 1.5}, 3, ()), ({"alpha": 1.2}, 3, ()),
    ]  # fmt: skip


def test_points_of_few_escapes_are_left_out(tmp_path):
    sweep = sweep_of(tmp_path / "s", {"epsilon": 0.1}, grid={"num": [5, 50, 60, 70]})
    (fit,) = scaling_fits(sweep, "num")
    assert (fit.points, fit.left_out) == (3, 1)


def test_fits_say_what_is_wrong(tmp_path):
    sweep = sweep_of(tmp_path / "s", grid={"epsilon": EPSILONS[:3], "word": ["a", "b"]})
    for arguments, words in [
        ({"axis": "alpha"}, "axis must be one of the sweep, 'epsilon' or 'word', not 'alpha'"),
        ({"axis": "word"}, "different positive numbers; its values are a, b"),
        ({"quantity": "shape"}, 'quantity must be "mean_time" or "ratio"'),
        ({"form": "linear"}, 'form must be "power" or "exponential"'),
    ]:
        with pytest.raises(ValueError, match=re.escape(words)):
            scaling_fits(sweep, **arguments)
    with pytest.raises(ValueError, match="no columns mean_time and escapes"):
        scaling_fits(sweep_of(tmp_path / "bare", experiment="BARE", grid={"x": [1.0, 2.0]}))


RUN = {
    "landscape": {"name": "Quadratic", "hessian": [[1.0]]},
    "driver": {"name": "StableComponents", "alpha": 1.5},
    "dynamics": {"name": "SGD", "epsilon": 0.2},
    "domain": {"name": "Ball", "radius": 1.0},
    "kernel": {"name": "EulerMaruyama", "dt": 0.05},
    "num": 50,
}


def test_report_of_real_escapes(tmp_path):
    title = "<script>alert('ü & §')</script>"
    spec = {"title": title, "run": RUN, "grid": {"epsilon": [0.2, 0.3, 0.4]}}
    run_sweep(spec, tmp_path / "s")
    sweep = open_sweep(tmp_path / "s")
    path = write_report(sweep, tmp_path / "new" / "report.html")
    text = render(sweep)
    assert path.read_text(encoding="utf-8") == text  # the same store, the same page
    page = checked(text)
    assert title in page.text
    assert page.count("svg") == 2 + 2
    for words in (
        "3 of 3 done",
        "EulerMaruyama",
        "dynamics.epsilon",
        "SDE time",
        "theory's slope",
        "noise of their own",
    ):
        assert words in re.sub(r"\s+", " ", page.text)
    assert "cpu cpu" not in page.text  # platform and kind
    assert str(tmp_path) not in page.text
    assert path.stat().st_size < 400_000


def test_names_of_series_stand_below_the_data(tmp_path, monkeypatch):
    """Once each, and never on the axes, where they would lie over the points."""
    drawn, svg = [], report_figures._svg
    monkeypatch.setattr(
        report_figures, "_svg", lambda figure, *more: drawn.append(figure) or svg(figure, *more)
    )
    page_of(sweep_of(tmp_path / "s", grid={"epsilon": EPSILONS[:3], "alpha": [1.2, 1.6]}))
    ratios = [f for f in drawn if f.axes[0].get_ylabel() == "measured over predicted mean"]
    assert len(ratios) == 2
    for figure in ratios:
        assert figure.axes[0].get_legend() is None
        (legend,) = figure.legends
        names = [text.get_text() for text in legend.get_texts()]
        assert len(names) == len(set(names)) > 1
    assert ["alpha = 1.2", "alpha = 1.6"] in [
        [t.get_text() for t in f.legends[0].get_texts()] for f in ratios
    ]


@pytest.mark.parametrize("off_law", [0.0, 0.5])
def test_slopes_beside_theory_say_why_they_differ(tmp_path, off_law):
    text = page_of(sweep_of(tmp_path / "s", {"num": 4000, "off_law": off_law})).text
    assert ("0 of 1 fitted slopes" in text) == (off_law > 0)
    assert ("as long as measured over predicted still moves towards 1" in text) == (off_law > 0)


def test_a_line_that_is_rejected_makes_no_headline(tmp_path):
    """Against log alpha the law's own means are no straight line: that theory's slope lies in the
    interval says nothing."""
    sweep = sweep_of(tmp_path / "s", {"num": 4000}, grid={"alpha": [1.1, 1.3, 1.5, 1.7, 1.9]})
    (fit,) = scaling_fits(sweep)
    assert fit.p_value < 1e-6
    assert fit.rejected
    assert "the line is rejected (p = " in " ".join(repr(fit).split())
    text = re.sub(r"\s+", " ", page_of(sweep).text)
    assert "fitted slopes contain" not in text
    assert "1 of 1 lines are rejected (p < 0.001): the means do not lie on a straight line" in text


def test_report_of_a_coupled_sweep_with_everything_wrong(tmp_path):
    faults = ["", "a <b>fault</b>\n& more", ""]
    run = {"num": 40, "limit": 2.0}
    grid = {"epsilon": [0.1, 0.15, 0.2, 0.25], "fault": faults[:2], "dt": [0.01, 0.1]}
    sweep = sweep_of(tmp_path / "s", run, grid=grid, coupled=True, title="wrong")
    page = page_of(sweep)
    text = re.sub(r"\s+", " ", page.text)
    for words in (
        "8 of 16 "
        "done", "8 "
                "failed", "Points share their "
                          "noise", "bootstrap", "a <b>fault</b>", "--retry-failed",
        "4 points: dt = 0.1 makes exits late by "
        "<em>&", "finest dt", "mean at the finest / mean at the coarsest",
    ):  # fmt: skip
        assert words in text


@pytest.mark.parametrize("done", [0, 2])
def test_report_of_an_unfinished_sweep(tmp_path, done):
    whole = tmp_path / "s"
    sweep_of(whole)
    for index in range(done, 5):  # as if stopped before these
        (whole / "done" / "c" / str(index)).unlink()
    page = page_of(open_sweep(whole))
    text = re.sub(r"\s+", " ", page.text)
    assert f"{done} of 5 done" in text
    assert f"{5 - done} of 5 points have not been run" in text
    assert ("nothing to show" if not done else "This sweep is unfinished") in text
    assert page.count("svg") == (0 if not done else 2 + 2)


def test_report_without_a_law_shows_both_forms(tmp_path):
    page = page_of(sweep_of(tmp_path / "s", {"law": False, "barrier": 0.3, "alpha": 0.0}))
    assert "1 / epsilon" in page.text
    assert "predicted" not in page.text.split("Warnings")[0].replace("No law of jumps predicts", "")
    assert page.count("svg") == 2 + 2


def test_report_of_another_experiment(tmp_path):
    page = page_of(sweep_of(tmp_path / "s", experiment="BARE", grid={"x": [1.0, 2.0]}))
    for words in ("value (kg)", "count", "a <b> & ünicode", "a number <i>"):
        assert words in page.text
    assert page.count("svg") == 0


def test_report_of_words_and_of_numbers_that_have_no_logarithm(tmp_path):
    grid = {"word": ["one", "a rather long word"], "barrier": [0.0, 0.1, 0.2]}
    page = page_of(sweep_of(tmp_path / "s", grid=grid))
    assert page.count("svg") == 2 + 4


def test_report_of_points_without_escapes(tmp_path):
    grid = {"epsilon": EPSILONS[:3], "limit": [1e-9, 1.0]}
    page = page_of(sweep_of(tmp_path / "some", {"num": 30, "word": "漢 $x_1$ \\"}, grid=grid))
    assert "∞" in page.text
    assert "漢 $x_1$" in page.text
    page = page_of(
        sweep_of(tmp_path / "none", {"num": 30, "limit": 1e-9}, grid={"epsilon": EPSILONS[:3]})
    )
    assert "At 3 of 3 points no trajectory left" in page.text
    assert page.count("svg") == 0


def test_odd_words_on_an_axis(tmp_path):
    words = ["漢字 <&>", "$x_1$", "100% \\frac", "a" * 60]
    page = page_of(sweep_of(tmp_path / "s", grid={"word": words}))
    assert page.count("svg") == 2 + 2
    assert "漢字 <&>" in page.text


def test_long_tables_are_cut_and_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "_MOST_ROWS", 3)
    text = re.sub(r"\s+", " ", page_of(sweep_of(tmp_path / "s")).text)
    assert "first 3 finished points; 2 more are in the store" in text
    assert "to_parquet" in text


def test_points_run_elsewhere_are_named(tmp_path, monkeypatch):
    sweep_of(tmp_path / "s")
    (tmp_path / "s" / "done" / "c" / "3").unlink()
    for module in (driver, engines):
        monkeypatch.setattr(module, "versions", lambda: {"levysde": "9.9"})
        monkeypatch.setattr(module, "device_name", lambda: "tpu v9")
    text = re.sub(r"\s+", " ", page_of(sweep_of(tmp_path / "s")).text)
    assert "tpu v9: 1 point" in text
    assert "levysde 9.9: 1 point" in text
    assert "their bits need not be" in text


def test_toml_makes_the_spec_again():
    spec = {
        "title": 'a "quoted" \\ ünicode 😀\ttab',
        "seed": 2**63 - 1,
        "coupled": True,
        "run": {
            "part": {
                "name": "X",
                "hessian": [[1.0, 2e-05], [0.5, 1e300]],
                "deep": {"a.b": [], "c": {}},
            }
        },
        "grid": {"driver.alpha": [1.2, {"name": "Y", "label": "="}]},
        "list": {},
    }
    assert tomllib.loads(as_toml(spec)) == {
        name: value for name, value in spec.items() if name != "list"
    }


def test_report_says_what_is_wrong(tmp_path):
    with pytest.raises(TypeError, match="write_report\\(open_sweep"):
        write_report("folder", tmp_path / "r.html")
    with pytest.raises(ValueError, match="it is a folder"):
        write_report(sweep_of(tmp_path / "s", grid={"epsilon": [0.1]}), tmp_path)
