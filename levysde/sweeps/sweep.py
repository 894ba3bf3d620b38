"""A sweep as one labelled data set, with its results, laws, comparisons and fits."""

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from levysde import errors
from levysde.analysis import Comparison, compare
from levysde.stats import Estimate as Interval
from levysde.sweeps.escape_run import EscapeRun
from levysde.sweeps.experiment import Job
from levysde.sweeps.fits import (
    LEAST_POINTS,
    ScalingFit,
    fit_line,
    lines_along,
    log_mean_covariance,
)
from levysde.sweeps.place import Place
from levysde.sweeps.plan import Plan, Point, make_plan
from levysde.sweeps.rows import SweepTable, read_table
from levysde.sweeps.store import Store, open_store
from levysde.tables import Table, Tabled
from levysde.theory import exact_exit
from levysde.types import Arg, Integer, Number, PathLike, Seed


def open_sweep(path: Arg[PathLike]) -> "Sweep":
    """Open the sweep at a folder or URL. Nothing is run; it may be running elsewhere.

    Args:
        path: folder or URL of its store.

    Returns:
        A `Sweep`.

    Raises:
        TypeError: `path` is not a path.
        StoreError: (a ValueError) there is no sweep, or one of another version.
        ImportError: the extra `sweep`, or that of the URL, is not installed.
    """
    return Sweep(
        open_store(Place(errors.instance("path", path, str | os.PathLike, '"runs/first"')))
    )


class Sweep(Tabled):
    """The data of a sweep, finished or not, and its results, laws and comparisons.

    `at` names a point by the values of its axes, for example `{"alpha": 1.5, "epsilon": 0.1}`. Axes
    with a single value may be left out.

    Args:
        store: the `Store` that `open_sweep` finds.

    Raises:
        TypeError: `store` is not a `Store`.
    """

    def __init__(self, store: Arg[Store]):
        self.store: Store = errors.instance("store", store, Store, "open_sweep(folder).store")

    @functools.cached_property
    def plan(self) -> Plan:
        """The spec with its axes and points."""
        folder = self.store.attributes.get("folder")
        return make_plan(self.store.spec, Path(folder) if folder else None)

    @property
    def data(self) -> xr.Dataset:
        """All data as one `xarray.Dataset`, read lazily, with one variable for each number of a
        point."""
        frame = xr.open_zarr(self.store.place.url, chunks=None)
        for name in frame.coords:
            if isinstance(frame[name].dtype, np.dtypes.StringDType):
                frame[name] = frame[name].astype(object)
        if "summary" not in frame:
            return frame
        about = zip(
            frame["quantity"].values,
            frame["quantity_units"].values,
            frame["quantity_long_name"].values,
            strict=True,
        )
        columns = {
            name: frame["summary"]
            .sel(quantity=name, drop=True)
            .assign_attrs(units=units, long_name=words)
            for name, units, words in about
            if name not in frame.coords  # an axis of that name says the same
        }
        return frame.drop_dims("quantity").assign(columns)

    @property
    def finished(self) -> list[Point]:
        """The points that are done."""
        done = self.store.finished()
        return [point for point in self.plan.points if point.index in done]

    @property
    def failures(self) -> dict[str, str]:
        """The message of each point that failed, by its id."""
        failed = self.store.failed()
        texts = self.store.arrays["failure"]
        return {p.id: str(texts[p.index]) for p in self.plan.points if p.index in failed}

    def point(self, at: Arg[Mapping[str, Any]]) -> Point:
        """The point with these values. Raises ValueError if there is none or several."""
        if not isinstance(at, Mapping):
            raise TypeError(f'at must be a dict, not {at!r}. For example {{"alpha": 1.5}}.')
        axes = {axis.name: axis for axis in self.plan.axes}
        for name in at:
            if name not in axes:
                raise ValueError(f"the sweep has no axis {name!r}. It has {', '.join(axes)}.")
        found = [
            p
            for p in self.plan.points
            if all(_is(self._label(p, axes[name]), value) for name, value in at.items())
        ]
        if len(found) == 1:
            return found[0]
        values = "; ".join(
            f"{name}: {', '.join(map(str, axis.labels[:8]))}" for name, axis in axes.items()
        )
        raise ValueError(f"{len(found) or 'no'} points are at {dict(at)}. The axes are {values}.")

    def _label(self, point: Point, axis: Any) -> Any:
        k = point.index[0] if self.plan.spec.list else point.index[self.plan.axes.index(axis)]
        return axis.labels[k]

    def values(self, point: Point) -> dict[str, Any]:
        """The values of the axes at a point, as `result`, `law` and `compare` take them."""
        return {axis.name: self._label(point, axis) for axis in self.plan.axes}

    def estimate(self, point: Point, name: str) -> Interval:
        """A number of a point with its interval, from the columns `name`, `name_low` and
        `name_high`.

        Raises ValueError if the point is not finished, or has no such columns.
        """
        columns = self.columns(point)
        ends = [name, f"{name}_low", f"{name}_high"]
        if not set(ends) <= set(columns):
            known = sorted(key for key in columns if {f"{key}_low", f"{key}_high"} <= set(columns))
            raise ValueError(
                f"no number {name!r} is stored with an interval. There are "
                f"{', '.join(known) or 'none'}."
            )
        return Interval(*(float(columns[end]) for end in ends))

    def columns(self, point: Point) -> dict[str, Any]:
        """The stored columns of a point. Raises ValueError if it is not finished."""
        if point.index not in self.store.finished():
            raise ValueError(
                f"the point {point.id} is not finished. Type the command of the sweep again."
            )
        arrays = self.store.arrays
        columns = {n: np.asarray(a[point.index])[()] for n, a in arrays.items() if n in self._names}
        if "summary" in arrays:
            columns |= dict(
                zip(self.store.quantities, np.asarray(arrays["summary"][point.index]), strict=True)
            )
        return columns

    @functools.cached_property
    def _names(self) -> set[str]:
        variables = self.plan.experiment.variables([p.settings for p in self.plan.points])
        # a quantity may have the name of an axis
        return {v.name for v in variables} & set(self.store.arrays) - set(self.store.quantities)

    def result(self, at: Arg[Mapping[str, Any]]) -> Any:
        """What the point's run returned: for escapes an `EscapeResult`, bit for bit, but without
        its speed."""
        point = self.point(at)
        return self.plan.experiment.outcome(point.settings, self.columns(point), Job(point.seed))

    def law(self, at: Arg[Mapping[str, Any]]) -> Any:
        """The law of the point: for escapes an `EscapeLaw`, None if there is none."""
        return self.plan.experiment.law(self.point(at).settings)

    def compare(self, at: Arg[Mapping[str, Any]], *, exact: Arg[bool] = False) -> Comparison:
        """Compare the point's result with its law; with `exact`, also with the exact mean (in one
        dimension).

        Raises ValueError if the point has no law, and what `compare` and `exact_exit` raise.
        """
        law = self.law(at)
        if law is None:
            raise ValueError(
                f"no law predicts the point {self.point(at).id}. Type compare(sweep.result(at), "
                "reference)."
            )
        known, experiment = None, self.plan.experiment
        if errors.flag("exact", exact):
            if not isinstance(experiment, EscapeRun):
                raise ValueError(
                    f"exact means are those of the experiment 'escape', not of {experiment.name!r}."
                )
            problem = experiment.problem(self.point(at).settings)
            known = exact_exit(problem.dynamics, problem.domain, start=problem.start)
        return compare(self.result(at), law, exact=known)

    def fit(
        self,
        axis: Arg[str | None] = None,
        quantity: Arg[Literal["mean_time", "ratio"]] = "mean_time",
        *,
        form: Arg[Literal["power", "exponential"]] = "power",
        confidence: Arg[Number] = 0.95,
    ) -> tuple[ScalingFit, ...]:
        """Scaling laws along an axis, or along every axis; see `scaling_fits`."""
        return scaling_fits(self, axis, quantity, form=form, confidence=confidence)

    def to_parquet(self, path: Arg[PathLike]) -> None:
        """Write the numbers of all points as a parquet table, one row per point. Rows of single
        trajectories are not written.

        Raises ValueError for a path that cannot be written.
        """
        if not isinstance(path, str | os.PathLike):
            raise ValueError(f'path must be a file, not {path!r}. For example "points.parquet".')
        frame = self.data
        narrow = frame.drop_dims([d for d in frame.dims if d not in self.plan.dims])
        narrow.to_dataframe().reset_index().to_parquet(errors.writable("path", path))

    def _table(self) -> Table:
        store = self.store
        done, failed = len(store.finished()), len(store.failed())
        total = int(np.prod(store.shape))
        rows = [
            ("at", store.place.url),
            ("experiment", self.plan.experiment.name),
            *self.plan._rows(),
            ("points", f"{total}: {done} done, {failed} failed, {total - done - failed} to run"),
        ]
        return Table(f"Sweep: {store.attributes['title']}", rows)


def scaling_fits(
    sweep: Arg[Sweep],
    axis: Arg[str | None] = None,
    quantity: Arg[Literal["mean_time", "ratio"]] = "mean_time",
    *,
    form: Arg[Literal["power", "exponential"]] = "power",
    confidence: Arg[Number] = 0.95,
    resamples: Arg[Integer] = 500,
    seed: Arg[Seed] = 0,
) -> tuple[ScalingFit, ...]:
    """Fit every line of at least three finished points along an axis.

    Args:
        sweep: a `Sweep` with columns `mean_time` and `escapes`; it may be unfinished.
        axis: an axis of positive numbers; by default every axis that changes the problem, not only
            seeds, steps or numbers of trajectories.
        quantity: "mean_time", or "ratio", the mean over the law's mean.
        form: "power" or "exponential".
        confidence: coverage of the intervals.
        resamples, seed: of the bootstrap, if the points share their noise.

    Returns:
        A fit for each line, one axis after the other; empty if no line has three points.

    Raises:
        TypeError, ValueError: bad arguments; an axis that does not exist or has other values than
            positive numbers; a sweep without escape times.
    """
    errors.choice("quantity", quantity, ("mean_time", "ratio"))
    errors.choice("form", form, ("power", "exponential"))
    confidence = errors.fraction("confidence", confidence)
    resamples = errors.integer("resamples", resamples, "resamples=500", low=20)
    store = errors.instance("sweep", sweep, Sweep, "open_sweep(folder)").store
    table = read_table(store)
    axes = _fitted_axes(table, axis)
    covariance = log_mean_covariance(store, table, resamples, errors.seed(seed))
    return tuple(
        fit
        for name in axes
        for line in lines_along(table, name, covariance, LEAST_POINTS)
        if (fit := fit_line(line, name, quantity, form, confidence, store.spec.coupled)) is not None
    )


def _fitted_axes(table: SweepTable, x: Any) -> list[str]:
    """The axes to fit along: x, or every one that changes the problem."""
    names = [axis.name for axis in table.axes]
    if not {"mean_time", "escapes"} <= set(table.quantities):
        raise ValueError(
            "the sweep has no columns mean_time and escapes, which a fit needs. Fit the arrays of "
            "sweep.data instead."
        )
    if x is None:
        return [axis.name for axis in table.axes if axis.is_physical and axis.can_be_fitted]
    if not isinstance(x, str) or x not in names:
        raise ValueError(
            f"axis must be one of the sweep, {' or '.join(map(repr, names))}, not {x!r}."
        )
    if not table.axis(x).can_be_fitted:
        shown = ", ".join(map(str, table.axis(x).labels[:5]))
        raise ValueError(
            f"axis = {x!r} must be an axis of different positive numbers; its values are {shown}."
        )
    return [x]


def _is(label: Any, value: Any) -> bool:
    if isinstance(label, float) and isinstance(value, int | float):
        return bool(np.isclose(label, value, rtol=1e-9, atol=0))
    return label == value or str(label) == str(value)
