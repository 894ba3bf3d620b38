"""The stability plot draws the curve it is given, the k chosen, and the exact reading of a stable
law."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb

from levysde import plots, stats


def curve(seed=0):
    return stats.hill_curve(np.random.default_rng(seed).standard_cauchy(5000))


def test_the_curve_its_band_and_the_choice():
    settings = dict(mpl.rcParams)
    found = curve()
    ax = plots.hill(found, stable=1.0)
    assert dict(mpl.rcParams) == settings
    line, chosen, exact = ax.lines
    np.testing.assert_array_equal(line.get_xydata(), np.stack([found.k, found.alpha], 1))
    assert chosen.get_xdata() == [found.chosen]
    assert chosen.get_ydata()[0] == pytest.approx(np.interp(found.chosen, found.k, found.alpha))
    share = exact.get_xdata() / 5000
    reading = [stats.hill_on_stable(1.0, s) for s in share]
    np.testing.assert_allclose(exact.get_ydata(), reading)
    assert exact.get_linestyle() != line.get_linestyle()
    band = ax.collections[0].get_paths()[0].vertices
    for corner in ([found.k[7], found.low[7]], [found.k[7], found.high[7]]):
        assert np.isclose(band, corner).all(1).any()
    assert (ax.get_xscale(), ax.get_xlabel(), ax.get_ylabel()) == (
        "log",
        "largest values used, k",
        "tail index",
    )
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts[0] == "Hill"
    assert f"k = {found.chosen}" in texts[1]
    assert texts[2] == "exact stable law, 1"
    ax.figure.canvas.draw()


def test_two_samples_on_given_axes_are_told_apart_in_print():
    figure, ax = plt.subplots()
    assert plots.hill(curve(), ax=ax, label="first") is ax
    plots.hill(curve(1), ax=ax, label="second", artist={"linewidth": 3})
    assert plt.get_fignums() == [figure.number]
    first, _, second, _ = ax.lines
    assert first.get_color() != second.get_color()
    assert first.get_linestyle() != second.get_linestyle()
    assert ax.lines[1].get_marker() != ax.lines[3].get_marker()
    assert second.get_linewidth() == 3
    plots.hill(curve(2), ax=ax, artist={"color": "k"})
    assert to_hex(ax.lines[4].get_color()) == "#000000"
    figure.canvas.draw()


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_legible_on_white_and_on_black(style):
    """Contrast of at least 3 (WCAG, graphics) between every line and the page."""

    def luminance(colour):
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)
        ]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    with plt.style.context(style):
        ax = plots.hill(curve(), stable=1.0)
        page = luminance(ax.get_facecolor())
        for line in ax.lines:
            low, high = sorted([page, luminance(line.get_color())])
            assert (high + 0.05) / (low + 0.05) > 3, line.get_color()


def test_refusals():
    with pytest.raises(TypeError, match=r"plots\.hill\(stats\.hill_curve"):
        plots.hill(np.arange(3))
    with pytest.raises(ValueError, match="stable must be an index"):
        plots.hill(curve(), stable=2.5)
    with pytest.raises(ValueError, match=r"from 0\.5 to 2"):
        plots.hill(curve(), stable=0.2)
    assert not plt.get_fignums()  # refused before a figure is made
