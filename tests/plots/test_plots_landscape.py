"""Pictures of trajectories: what is drawn is what was computed, what lies outside the frame is
counted, any page will do."""

import dataclasses

import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb, to_rgba

import levysde as ls
from levysde import plots

WELL = ls.DoubleWell(dim=2)
BOUNDS = ((-2.2, 2.2), (-1.8, 1.8))


def ball():
    return ls.Ball(radius=1.0, center=WELL.minimum)


def kernel():
    return ls.EulerMaruyama(ls.SGD(WELL, ls.StableComponents(alpha=1.5), epsilon=0.2), dt=0.01)


@pytest.fixture(scope="module")
def run():
    return ls.simulate_escape(kernel(), ball(), WELL.minimum, num=60, seed=3)


@pytest.fixture(scope="module")
def paths():
    """Three paths, one of which has left at 5."""
    found = ls.simulate_paths(
        kernel(), WELL.minimum, num=40, seed=3, every=10, max_time=10.0, domain=ball()
    )
    left, stayed = np.flatnonzero(found.exited), np.flatnonzero(~found.exited)
    return ls.simulate_paths(
        kernel(),
        WELL.minimum,
        ids=[*left[:2], stayed[0]],
        seed=3,
        every=10,
        max_time=10.0,
        domain=ball(),
    )


def names(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def contours(ax):
    return [c for c in ax.collections if isinstance(c, mpl.contour.QuadContourSet)]


def test_contours_are_the_losses():
    settings = dict(mpl.rcParams)
    ax = plots.landscape(WELL, bounds=BOUNDS, domain=ball(), levels=[0.5, 1.0, 2.0])
    lines, edge = contours(ax)
    assert dict(mpl.rcParams) == settings
    np.testing.assert_allclose(lines.levels, [0.5, 1.0, 2.0])
    for level, path in zip(lines.levels, lines.get_paths(), strict=True):
        heights = [
            float(WELL.value(jnp.asarray(point, jnp.float32))) for point in path.vertices[::40]
        ]
        np.testing.assert_allclose(heights, level, rtol=0.02)
    around = np.linalg.norm(edge.get_paths()[0].vertices - np.asarray(WELL.minimum), axis=1)
    np.testing.assert_allclose(around, 1.0, atol=4e-3)  # a fifth of the grid's spacing: no stairs
    assert edge.get_linestyle() != lines.get_linestyle()
    assert (ax.get_xlim(), ax.get_ylim()) == BOUNDS
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$x_0$", "$x_1$")
    assert names(ax) == ["minimum", "saddle", "edge of the basin"]
    by_name = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(by_name["minimum"].get_xydata(), WELL.minima)
    np.testing.assert_allclose(by_name["saddle"].get_xydata(), WELL.saddles)
    assert by_name["minimum"].get_marker() != by_name["saddle"].get_marker()
    ax.figure.canvas.draw()


def test_default_view_and_levels():
    ax = plots.landscape(ls.Quadratic(hessian=jnp.eye(2), minimum=jnp.array([5.0, 7.0])), levels=9)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    assert left < 5 < right
    assert bottom < 7 < top
    levels = contours(ax)[0].levels
    assert len(levels) == 9
    assert np.ptp(np.diff(np.sqrt(levels))) < 1e-2  # a quadratic's lines are evenly spaced
    assert names(ax) == ["minimum"]


def test_a_loss_that_is_not_finite_everywhere():
    def loss(x):
        return jnp.where(x[0] < 1, jnp.sum(x**2), jnp.nan)

    ax = plots.landscape(
        ls.from_function(loss, dim=2, minimum=jnp.zeros(2)), bounds=((-2, 2), (-2, 2))
    )
    assert np.concatenate([path.vertices for path in contours(ax)[0].get_paths()])[:, 0].max() <= 1
    with pytest.raises(ValueError, match="finite nowhere"):
        plots.landscape(
            ls.from_function(loss, dim=2, minimum=jnp.zeros(2)), bounds=((2, 3), (0, 1))
        )


def test_a_domain_that_fills_the_view():
    ax = plots.landscape(WELL, bounds=BOUNDS, domain=ls.Ball(radius=99.0, center=jnp.zeros(2)))
    assert len(contours(ax)) == 1
    assert "edge of the basin" not in names(ax)


def test_paths_in_the_plane(paths):
    ax = plots.landscape(WELL, bounds=BOUNDS, domain=ball())
    assert plots.paths(paths, ax=ax) is ax
    assert (ax.get_xlim(), ax.get_ylim()) == BOUNDS  # the landscape's limits are kept
    drawn = ax.lines[-3:]
    for i, line in enumerate(drawn):
        inside = paths.inside[i]
        expected = paths.positions[i, inside]
        if paths.exited[i]:
            expected = np.concatenate([expected, paths.first_outside[i, None]])
        np.testing.assert_allclose(line.get_xydata(), expected)
    texts = names(ax)[-3:]
    assert [text.split(",")[0] for text in texts] == [f"trajectory {i}" for i in paths.ids]
    assert texts[0].startswith(f"trajectory {paths.ids[0]}, left at {paths.end_time[0]:.4g}")
    assert texts[2].endswith("inside")
    assert len({line.get_marker() for line in drawn}) == 3  # told apart in print
    # hollow: still inside
    assert to_rgba(drawn[2].get_markerfacecolor()) == to_rgba(ax.get_facecolor())
    assert to_rgba(drawn[0].get_markerfacecolor()) == to_rgba(drawn[0].get_color())
    ax.figure.canvas.draw()


def test_paths_against_time(paths):
    ax = plots.paths(paths, coordinates=1)
    assert ax.get_xlabel() == "time (SDE time)"
    assert ax.get_ylabel() == "$x_{1}$"
    last = ax.lines[2]
    np.testing.assert_allclose(last.get_xdata(), paths.times)
    np.testing.assert_allclose(last.get_ydata(), paths.positions[2, :, 1])
    assert ax.lines[0].get_xdata()[-1] == paths.end_time[0]
    assert ax.lines[0].get_ydata()[-1] == paths.first_outside[0, 1]
    assert len({str(line._dash_pattern) for line in ax.lines}) == 3
    few = plots.paths(paths, coordinates=0, label="stable", artist={"linewidth": 2.0})
    assert [text.split(":")[0] for text in names(few)] == ["stable"]
    assert "2 of 3 left" in names(few)[0]
    assert {line.get_color() for line in few.lines} == {few.lines[0].get_color()}
    assert few.lines[0].get_linewidth() == 2.0
    plots.paths(paths, coordinates=0, label="again", ax=few)
    assert few.lines[-1].get_color() != few.lines[0].get_color()


def test_far_exits_are_counted_not_framed(paths):
    far = dataclasses.replace(
        paths, first_outside=np.array([[1e9, 0], [-1.0, 0.1], [np.nan] * 2], np.float32)
    )
    ax = plots.paths(far)
    assert ax.get_xlim()[1] < 10
    assert names(ax)[0].endswith("beyond the frame")
    assert "beyond" not in names(ax)[1]
    assert "1 beyond the frame" in names(plots.paths(far, label="all"))[0]
    ax.figure.canvas.draw()


def test_exit_places(run):
    ax = plots.landscape(WELL, bounds=BOUNDS)
    assert plots.exit_places(run, ax=ax, label="stable") is ax
    points = ax.collections[-2]
    np.testing.assert_allclose(points.get_offsets(), run.first_outside)
    segments = np.array(ax.collections[-1].get_segments())
    np.testing.assert_allclose(segments, np.stack([run.last_inside, run.first_outside], 1))
    (low, high), (bottom, top) = BOUNDS
    x, y = run.first_outside.T
    hidden = ((x < low) | (x > high) | (y < bottom) | (y > top)).sum()
    assert hidden > 0
    assert f"stable, 60 ({hidden} beyond the frame)" in names(ax)
    alone = plots.exit_places(dataclasses.replace(run, label=np.arange(60, dtype=np.int32) % 2 + 1))
    assert [text.split(",")[0] for text in names(alone)] == [
        "exits through set 1",
        "exits through set 2",
    ]
    marks = [c for c in alone.collections if hasattr(c, "get_sizes") and len(c.get_offsets()) == 30]
    assert len({str(c.get_paths()[0].vertices) for c in marks}) == 2  # told apart in print
    assert alone.get_xlim()[1] < 100
    alone.figure.canvas.draw()


def test_exit_places_of_paths_and_other_coordinates(paths):
    ax = plots.exit_places(paths, coordinates=(1, 0))
    np.testing.assert_allclose(
        ax.collections[0].get_offsets(), paths.first_outside[paths.exited][:, ::-1]
    )
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$x_{1}$", "$x_{0}$")


def test_exit_directions(run):
    law = ls.escape_law(kernel().dynamics, ball(), check=False)
    found = ls.exit_directions(run, WELL, law=law)
    ax = plots.exit_directions(
        found.eigenvalues, found.shares, found.intervals, predicted=found.predicted, label="SGD"
    )
    points, bars = ax.containers[0].lines[0], ax.containers[0].lines[2][0]
    np.testing.assert_allclose(points.get_ydata(), found.shares)
    np.testing.assert_allclose([segment[:, 1] for segment in bars.get_segments()], found.intervals)
    reference = next(line for line in ax.lines if line.get_label() == "law, for SGD")
    np.testing.assert_allclose(reference.get_ydata(), found.predicted)
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "8"]
    assert ax.get_ylim()[0] == 0
    plots.exit_directions(found.eigenvalues, found.shares, found.intervals, label="again", ax=ax)
    assert ax.containers[1].lines[0].get_marker() != points.get_marker()
    assert not np.intersect1d(ax.containers[1].lines[0].get_xdata(), points.get_xdata()).size
    many = plots.exit_directions(np.arange(40.0), np.full(40, 0.025), np.tile([0.0, 0.05], (40, 1)))
    assert "flattest" in many.get_xlabel()
    ax.figure.canvas.draw()


def test_animation(paths, tmp_path):
    short = ls.simulate_paths(
        kernel(), WELL.minimum, ids=paths.ids, seed=3, times=[0.0, 2.0, 5.0, 10.0], domain=ball()
    )
    film = plots.animate(short, WELL, bounds=BOUNDS, domain=ball(), milliseconds=100)
    clock, *parts = film._func(3)
    assert clock.get_text() == "time 10 (SDE time)"
    for i in range(3):
        line, head = parts[2 * i], parts[2 * i + 1]
        place = short.positions[i, 3]  # those that left stay
        np.testing.assert_allclose(head.get_xydata(), place[None])
        np.testing.assert_allclose(line.get_xydata()[-1], place)
        filled = to_rgba(head.get_markerfacecolor()) == to_rgba(head.get_color())
        assert filled == short.exited[i]
    _, line, _, *_ = film._func(1)
    np.testing.assert_allclose(
        line.get_xydata()[-1],
        short.positions[0, 1] if short.inside[0, 1] else short.first_outside[0],
    )
    page = film.to_jshtml(fps=5)
    assert page.count("data:image/png") == 4
    target = tmp_path / "paths.gif"
    film.save(target, writer="pillow", dpi=40)
    assert target.read_bytes()[:3] == b"GIF"


def test_animation_without_a_landscape(paths):
    short = dataclasses.replace(
        paths, times=paths.times[:3], steps=paths.steps[:3], positions=paths.positions[:, :3]
    )
    figure, ax = plt.subplots()
    film = plots.animate(short, ax=ax, tail=1)
    _, line, head, *_ = film._func(2)
    assert len(line.get_xdata()) == 1
    np.testing.assert_allclose(head.get_xydata()[0], paths.positions[0, 2])
    film.to_jshtml()
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_legible_on_white_and_on_black(style, run, paths):
    """Contrast of at least 3 (WCAG, graphics) between the page and every line, mark and letter;
    nothing is fixed black."""

    def luminance(colour):
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)
        ]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    with plt.style.context(style):
        ax = plots.landscape(WELL, bounds=BOUNDS, domain=ball())
        plots.paths(paths, ax=ax)
        plots.exit_places(run, ax=ax)
        other = plots.exit_directions(
            [1.0, 2.0], [0.4, 0.6], [[0.3, 0.5], [0.5, 0.7]], predicted=[0.5, 0.5]
        )
        page = luminance(ax.get_facecolor())
        colours = [line.get_color() for each in (ax, other) for line in each.lines]
        colours += [
            text.get_color() for each in (ax, other) for text in each.get_legend().get_texts()
        ]
        colours += [text.get_color() for text in ax.texts]
        colours += [colour for c in ax.collections for colour in c.get_edgecolor()]
        assert len(colours) > 20
        for colour in colours:
            low, high = sorted([page, luminance(colour)])
            assert (high + 0.05) / (low + 0.05) > 3, colour


def test_legends_where_the_figure_makes_no_room():
    ax = plots.landscape(WELL, ax=plt.subplots()[1], bounds=BOUNDS)
    box = ax.get_legend().get_window_extent()
    assert ax.bbox.x0 <= box.x0
    assert box.y1 <= ax.bbox.y1  # inside
    below = plots.landscape(WELL, bounds=BOUNDS)
    below.figure.canvas.draw()
    assert below.get_legend().get_window_extent().y1 < below.bbox.y0


def test_refusals(run, paths):
    line = ls.DoubleWell(dim=1)
    one = ls.Ball(radius=1.0, center=jnp.zeros(1))
    table = [
        (lambda: plots.landscape(run), TypeError, "landscape must be a Landscape"),
        (lambda: plots.landscape(WELL, domain=WELL), TypeError, "domain must be a Domain"),
        (lambda: plots.landscape(line), ValueError, "the landscape has 1"),
        (lambda: plots.landscape(WELL, domain=one), ValueError, "the domain has 1"),
        (lambda: plots.landscape(WELL, bounds=((1, -1), (0, 1))), ValueError, "low first"),
        (lambda: plots.landscape(WELL, bounds=(0, 1)), ValueError, "bounds must have shape"),
        (lambda: plots.landscape(WELL, levels=0), ValueError, "levels must be"),
        (lambda: plots.landscape(WELL, levels=[1.0, 0.5]), ValueError, "increasing heights"),
        (lambda: plots.landscape(WELL, points=1), ValueError, "points must be"),
        (lambda: plots.paths(run), TypeError, "paths must be a Paths"),
        (lambda: plots.paths(paths, coordinates=2), ValueError, "coordinates must be from 0 to 1"),
        (lambda: plots.paths(paths, coordinates=(0, 1, 1)), ValueError, "one or two"),
        (lambda: plots.paths(paths, coordinates=0.5), TypeError, "coordinates must be an integer"),
        (lambda: plots.exit_places(paths.positions), TypeError, "result must be"),
        (lambda: plots.exit_places(run, coordinates=0), ValueError, "two coordinates"),
        (lambda: plots.exit_directions([1.0], [0.5, 0.5], [[0, 1]]), ValueError, r"\(d, 2\)"),
        (
            lambda: plots.exit_directions([1.0], [1.0], [[0.9, 1.0]], predicted=[1.0, 2.0]),
            ValueError,
            "predicted",
        ),
        (lambda: plots.animate(run), TypeError, "paths must be a Paths"),
        (lambda: plots.animate(paths, coordinates=0), ValueError, "two coordinates"),
        (lambda: plots.animate(paths, tail=0), ValueError, "tail must be"),
        (lambda: plots.animate(paths, milliseconds=0), ValueError, "milliseconds must be positive"),
        (lambda: plots.animate(paths, domain=ball()), ValueError, "Pass the landscape too"),
    ]
    for call, kind, message in table:
        with pytest.raises(kind, match=message):
            call()
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.exit_places(dataclasses.replace(run, exited=np.zeros(60, bool)))
