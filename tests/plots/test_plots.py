"""Figures draw the numbers they are given, on the axes they are given, and nothing else."""

import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from made_runs import exponential, law, run
from matplotlib.colors import to_hex, to_rgb

from levysde import plots, stats


def test_survival_draws_the_estimate_its_band_and_the_law():
    reference = law()
    result = run(exponential(300, reference.mean), cut=200.0)
    settings = dict(mpl.rcParams)
    ax = plots.survival(result, reference)
    assert dict(mpl.rcParams) == settings
    curve = stats.kaplan_meier(result.time, result.exited)
    measured, theory = ax.lines
    np.testing.assert_allclose(measured.get_xdata()[1:], curve.time)
    np.testing.assert_allclose(measured.get_ydata()[1:], curve.survival)
    assert (measured.get_xdata()[0], measured.get_ydata()[0]) == (0, 1)
    assert measured.get_drawstyle() == "steps-post"
    np.testing.assert_allclose(theory.get_ydata(), np.exp(-theory.get_xdata() / reference.mean))
    assert theory.get_xdata()[-1] == 200.0
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(curve.low.min())
    # a step, like the curve
    for corner in ([curve.time[4], curve.low[3]], [curve.time[4], curve.low[4]]):
        assert np.isclose(band, corner).all(1).any()
    assert ax.get_yscale() == "log"
    assert ax.get_xlabel() == "time (SDE time)"
    assert ax.get_ylabel() == "share still inside"
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    mean = stats.mean_time(result.time, result.exited)
    assert f"ratio {mean.value * reference.rate:.3f} [" in texts[0]
    assert f"{result.exited.sum()} exits" in texts[0]
    assert texts[1] == f"law, mean {reference.mean:.4g}"
    ax.figure.canvas.draw()


def test_survival_on_given_axes():
    figure, ax = plt.subplots()
    assert plots.survival(run(exponential(50, 1.0)), ax=ax, label="first") is ax
    assert (
        plots.survival(
            run(exponential(50, 9.0)), law(), ax=ax, label="second", artist={"color": "k"}
        )
        is ax
    )
    plots.survival(run(exponential(50, 9.0)), law(), ax=ax, label="third")
    assert plt.get_fignums() == [figure.number]
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts[0] == "first"
    assert sum(text.startswith("law") for text in texts) == 1  # the same law is named once
    assert to_hex(ax.lines[1].get_color()) == "#000000"
    assert ax.lines[0].get_color() != ax.lines[3].get_color()
    assert ax.get_xlim()[1] >= run(exponential(50, 9.0)).time.max()
    assert 0 < ax.get_ylim()[0] <= 0.01
    figure.canvas.draw()


def test_survival_without_a_single_exit():
    ax = plots.survival(run(np.full(20, 9.0), cut=5.0), law())
    assert "[" in ax.get_legend().get_texts()[0].get_text()
    ax.figure.canvas.draw()


def test_ratios():
    x, ratios = np.array([0.2, 0.1, 0.05]), np.array([0.8, 0.9, 0.97])
    intervals = np.stack([ratios - 0.02, ratios + 0.04], 1)
    ax = plots.ratios(x, ratios, intervals, label="SGD")
    plots.ratios(x, ratios - 0.1, intervals - 0.1, label="ADAM", xlabel="predicted steps", ax=ax)
    points, bars = ax.containers[0].lines[0], ax.containers[0].lines[2][0]
    np.testing.assert_allclose(points.get_ydata(), ratios)
    np.testing.assert_allclose([segment[:, 1] for segment in bars.get_segments()], intervals)
    assert points.get_color() != ax.containers[1].lines[0].get_color()
    assert points.get_marker() != ax.containers[1].lines[0].get_marker()  # told apart in print
    assert (
        sum(np.allclose(line.get_ydata(), 1.0) for line in ax.lines if len(line.get_ydata())) == 1
    )
    assert ax.get_xscale() == "log"
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0.05", "0.1", "0.2"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted steps", "measured over predicted mean")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["SGD", "ADAM"]
    ax.figure.canvas.draw()


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_legible_on_white_and_on_black(style):
    """Contrast of at least 3 (WCAG, graphics) between every line and the page."""

    def luminance(colour):
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)
        ]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    with plt.style.context(style):
        ax = plt.subplots()[1]
        for _ in range(4):
            plots.ratios([1.0], [1.0], [[0.9, 1.1]], ax=ax)
        plots.survival(run(exponential(50, 1.0)), law(), ax=plt.subplots()[1])
        page = luminance(ax.get_facecolor())
        lines = [line for n in plt.get_fignums() for line in plt.figure(n).axes[0].lines]
        for line in lines:
            low, high = sorted([page, luminance(line.get_color())])
            assert (high + 0.05) / (low + 0.05) > 3, line.get_color()


def test_refusals():
    result = run(exponential(10, 1.0))
    with pytest.raises(TypeError, match=r"plots\.survival"):
        plots.survival(law())
    with pytest.raises(TypeError, match=r"plots\.survival"):
        plots.survival(result, result)
    with pytest.raises(ValueError, match="same clock"):
        plots.survival(run(exponential(10, 1.0), unit="iterations"), law())
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.survival(run(exponential(3, 1.0), status=np.full(3, 3, np.int8)))
    with pytest.raises(ValueError, match=r"\(n, 2\)"):
        plots.ratios([1.0, 2.0], [1.0, 1.0], [0.9, 1.1])
    with pytest.raises(ValueError, match="positive"):
        plots.ratios([0.0], [1.0], [[0.9, 1.1]])
    for artist in ({"colour": "k"}, {"color": "blakc"}, {"linewidth": "wide"}):
        with pytest.raises(ValueError, match=r"artist = .* is refused by matplotlib"):
            plots.survival(result, artist=artist)
    with pytest.raises(TypeError, match="artist must be a dict"):
        plots.survival(result, artist={1: 2})


def test_jax_arrays_are_fine():
    ax = plots.ratios(jnp.array([1.0]), jnp.array([1.0]), jnp.array([[0.9, 1.1]]))
    assert ax.get_legend() is None
