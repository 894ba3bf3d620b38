"""The figure of noise draws the measured tail and the fitted laws."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from levysde import plots, stats


@pytest.fixture(scope="module")
def found() -> stats.NoiseClass:
    return stats.noise_class(np.random.default_rng(0).standard_t(3, 1500))


def test_the_tail_and_the_laws(found):
    settings = dict(mpl.rcParams)
    ax = plots.noise(found, label="gradients")
    assert dict(mpl.rcParams) == settings
    measured, *laws = ax.lines
    np.testing.assert_array_equal(measured.get_xdata(), found.size)
    shown = np.asarray(measured.get_ydata())
    np.testing.assert_array_equal(shown[:-1], found.share[:-1])
    assert np.isnan(shown[-1])  # no value is above the largest
    shares = [np.asarray(line.get_ydata()) for line in laws]
    for share, fit in zip(shares, found.fits[:3], strict=False):
        np.testing.assert_array_equal(np.nan_to_num(share), fit.survival)
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names[:2] == [
        "gradients, 1,500 steps",
        f"Student t, df {found.fits[0].parameters['df']:.3g}",
    ]
    assert "Gaussian" in names
    assert len({line.get_color() for line in laws}) == len(laws) == 4
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_title()) == ("log", "log", found.name)
    ax.figure.canvas.draw()


def test_given_axes_and_a_look(found):
    figure, ax = plt.subplots()
    assert plots.noise(found, ax=ax, artist={"color": "red"}) is ax
    assert ax.lines[0].get_color() == "red"
    assert plt.get_fignums() == [figure.number]
    figure.canvas.draw()


def test_a_sample_without_fits_is_drawn_alone():
    for x in (np.round(np.random.default_rng(1).normal(size=500)), np.arange(-20.0, 20.0)):
        ax = plots.noise(stats.noise_class(x))
        assert len(ax.lines) == 1
        ax.figure.canvas.draw()


def test_refusals(found):
    with pytest.raises(TypeError, match=r"plots\.noise\(stats\.noise_class\(x\)\)"):
        plots.noise(np.arange(3.0))
    with pytest.raises(ValueError, match=r"artist = .* is refused by matplotlib"):
        plots.noise(found, artist={"colour": "red"})
