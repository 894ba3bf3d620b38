"""The figure of a training run draws the numbers of its table."""

import dataclasses

import matplotlib as mpl
import numpy as np
import pytest

from levysde import networks, plots
from levysde.stats import Estimate

NAN = float("nan")


def estimates(*values: float) -> tuple[Estimate, ...]:
    return tuple(Estimate(value, 0.9 * value, 1.2 * value) for value in values)


FOUND = networks.Track(
    iteration=np.array([0, 100, 5000]),
    loss=np.array([2.0, 1.0, NAN]),
    noise=("Gaussian", "stable", "Gaussian"),
    tail_index=estimates(2.0, 1.5, 1.9),
    sharpness=np.array([1.0, 5.0, 20.0]),
    batch_sharpness=estimates(2.0, 6.0, 19.0),
    preconditioned_sharpness=np.array([10.0, 100.0, 400.0]),
    escape=estimates(NAN, 1e3, np.inf),
    optimizer="sgd",
    learning_rate=0.1,
    batch_size=32,
)


def points(ax, number: int = 0) -> list[float]:
    return np.asarray(ax.containers[number].lines[0].get_ydata()).tolist()


def names(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_each_column_is_drawn():
    settings = dict(mpl.rcParams)
    figure = plots.track(FOUND)
    assert dict(mpl.rcParams) == settings
    loss, escape, sharpness, tail = figure.axes
    np.testing.assert_array_equal(points(loss), FOUND.loss)
    np.testing.assert_array_equal(points(escape), [NAN, 1e3, NAN])
    np.testing.assert_array_equal(points(sharpness), FOUND.sharpness)
    np.testing.assert_array_equal(points(sharpness, 1), [2, 6, 19])
    assert set(names(sharpness)) == {"2 / learning rate", "sharpness", "batch sharpness"}
    assert 20.0 in [line.get_ydata()[0] for line in sharpness.lines]
    np.testing.assert_array_equal(points(tail), [2, 1.5, 1.9])
    by_class = {line.get_label(): line for line in tail.lines}
    np.testing.assert_array_equal(by_class["Gaussian"].get_xdata(), [0, 5000])
    np.testing.assert_array_equal(by_class["stable"].get_xdata(), [100])
    assert {ax.get_xscale() for ax in figure.axes} == {"symlog"}
    assert figure.get_suptitle() == "SGD, learning rate 0.1, batches of 32"
    figure.canvas.draw()


@pytest.mark.parametrize(
    ("optimizer", "shown"),
    [
        ("adam", {"sharpness", "preconditioned sharpness", "38 / learning rate"}),
        ("optax", {"sharpness", "batch sharpness", "preconditioned sharpness"}),
    ],
)
def test_the_sharpness_is_that_of_the_optimiser(optimizer, shown):
    figure = plots.track(dataclasses.replace(FOUND, optimizer=optimizer))
    assert set(names(figure.axes[2])) == shown
    figure.canvas.draw()


def test_a_single_row_without_anything_else():
    nothing = (Estimate(NAN, NAN, NAN),)
    found = dataclasses.replace(
        FOUND,
        iteration=np.array([0]),
        loss=np.array([1.0]),
        noise=("",),
        tail_index=nothing,
        sharpness=np.array([NAN]),
        batch_sharpness=nothing,
        preconditioned_sharpness=np.array([NAN]),
        escape=nothing,
        learning_rate=None,
    )
    figure = plots.track(found)
    (text,) = figure.axes[1].texts
    assert text.get_text() == "no escape times: see the warnings"
    figure.canvas.draw()


def test_a_look_and_what_is_refused():
    figure = plots.track(FOUND, artist={"color": "red"})
    assert figure.axes[0].lines[0].get_color() == "red"
    with pytest.raises(TypeError, match="found must be a Track"):
        plots.track("run")
    with pytest.raises(ValueError, match=r"artist = .* is refused by matplotlib"):
        plots.track(FOUND, artist={"colr": "red"})
