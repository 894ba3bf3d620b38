"""Calls of `levysde.plots`."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calls.small import action, ball, diagnosis, kernel, law, paths, result, track
from calls.table import Call, Exempt
from levysde import plots, stats


def axes() -> Axes:
    """Axes of their own: what is drawn on them once is drawn on again."""
    return Figure().subplots()


def look() -> dict[str, Any]:
    return {"ax": axes(), "artist": {"color": "red"}}


def calls() -> Iterator[Call | Exempt]:
    yield Call(
        plots.survival,
        lambda: {
            "result": result(),
            "law": law(),
            "label": "measured",
            "confidence": 0.9,
            **look(),
        },
        host=True,
    )
    yield Call(
        plots.ratios,
        lambda: {
            "abscissa": np.array([0.1, 0.2]),
            "ratios": np.array([1.0, 0.9]),
            "intervals": np.array([[0.9, 1.1], [0.8, 1.0]]),
            "label": "SGD",
            "xlabel": "epsilon",
            **look(),
        },
        host=True,
        # of a level without an exit
        fine=dict.fromkeys(("ratios", "intervals"), ("nan inside", "inf inside")),
    )
    yield Call(
        plots.landscape,
        lambda: {
            "landscape": kernel().dynamics.landscape,
            "ax": axes(),
            "bounds": ((-2.0, 2.0), (-2.0, 2.0)),
            "levels": 4,
            "domain": ball(),
            "points": 11,
            "artist": {"alpha": 0.5},
        },
        host=True,
    )
    yield Call(
        plots.paths,
        lambda: {"paths": paths(), "coordinates": (0, 1), "label": "SGD", **look()},
        host=True,
    )
    yield Call(
        plots.exit_places,
        lambda: {
            "result": result(),
            "ax": axes(),
            "coordinates": (0, 1),
            "label": "SGD",
            "artist": {"edgecolors": "red"},
        },
        host=True,
        fine={"coordinates": ("none",)},  # the first two
    )
    yield Call(
        plots.action_paths,
        lambda: {"action": action(), "coordinates": (0, 1), "label": "least action", **look()},
        host=True,
        fine={"coordinates": ("none",)},  # the first two
    )
    yield Call(
        plots.exit_directions,
        lambda: {
            "eigenvalues": np.array([1.0, 2.0]),
            "shares": np.array([0.4, 0.6]),
            "intervals": np.array([[0.3, 0.5], [0.5, 0.7]]),
            "predicted": np.array([0.5, 0.5]),
            "label": "SGD",
            **look(),
        },
        host=True,
    )
    yield Call(
        plots.animate,
        lambda: {
            "paths": paths(),
            "landscape": kernel().dynamics.landscape,
            "ax": axes(),
            "bounds": ((-2.0, 2.0), (-2.0, 2.0)),
            "domain": ball(),
            "coordinates": (0, 1),
            "tail": 2,
            "milliseconds": 50.0,
        },
        host=True,
        fine={"coordinates": ("none",)},  # the first two
    )
    yield Call(
        plots.hill,
        lambda: {
            "curve": stats.hill_curve(np.arange(1.0, 101.0)),
            "stable": 1.5,
            "label": "Hill",
            **look(),
        },
        host=True,
    )
    yield Call(
        plots.noise,
        lambda: {
            "found": stats.noise_class(np.sin(np.arange(90.0) ** 2)),
            "label": "noise",
            **look(),
        },
        host=True,
    )
    yield Call(plots.diagnosis, lambda: {"report": diagnosis()}, cheap=False, host=True)
    yield Call(
        plots.track,
        lambda: {"found": track(), "artist": {"linewidth": 1.0}},
        cheap=False,
        host=True,
    )
    parts: tuple[Callable[..., Axes], ...] = (
        *(
            plots.hessian_spectrum,
            plots.noise_alignment,
            plots.tail_indices,
            plots.basin_masses,
            plots.escape_times,
        ),
    )
    for part in parts:
        yield Call(part, lambda: {"report": diagnosis(), **look()}, host=True)
