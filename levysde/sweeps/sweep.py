"""A finished, or half-finished, sweep as one labelled data set, with its results, laws and
comparisons."""

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from levysde import errors
from levysde.analysis import Comparison, compare
from levysde.stats import Estimate as Interval
from levysde.sweeps.escape_run import EscapeRun
from levysde.sweeps.experiment import Job
from levysde.sweeps.fits import (
    LEAST_POINTS,
    ScalingFit,
    fit_line,
    fitted_axes,
    lines_along,
    log_mean_covariance,
)
from levysde.sweeps.place import Place
from levysde.sweeps.plan import Plan, Point, make_plan
from levysde.sweeps.rows import read_table
from levysde.sweeps.store import Store, open_store
from levysde.tables import Table, Tabled
from levysde.theory import exact_exit
from levysde.types import Arg, Integer, Number, PathLike

if TYPE_CHECKING:
    import xarray as xr


def open_sweep(path: Arg[PathLike]) -> "Sweep":
    """The sweep at a folder or URL; nothing is run, and it may be running elsewhere.

    Args:
        path: folder or URL of its store.

    Returns:
        A `Sweep`.

    Raises:
        TypeError: something else than a path.
        StoreError: a ValueError: there is none, or one of another version.
        ImportError: the extra `sweep`, or that of the URL, is not installed.
    """
    return Sweep(
        open_store(Place(errors.instance("path", path, str | os.PathLike, '"runs/first"')))
    )


class Sweep(Tabled):
    """A sweep's data and what they mean. `at` names a point by the values of its axes, for example
    `{"alpha": 1.5, "epsilon": 0.1}`; axes of one value may be left out.

    Args:
        store: the arrays on disk; `open_sweep` finds them.

    Raises:
        TypeError: something else than a `Store`.
    """

    def __init__(self, store: Arg[Store]):
        self.store: Store = errors.instance("store", store, Store, "open_sweep(folder).store")

    @functools.cached_property
    def plan(self) -> Plan:
        """The spec with its axes and points."""
        folder = self.store.attributes.get("folder")
        return make_plan(self.store.spec, Path(folder) if folder else None)

    @property
    def data(self) -> "xr.Dataset":
        """Everything as one `xarray.Dataset`, read lazily, with one variable for each number of a
        point."""
        import xarray as xr

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
        columns = {
            name: column.drop_vars([c for c in column.coords if str(c).startswith("quantity")])
            for name, column in columns.items()
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
        """The one point with these values. Raises ValueError, with the values there are, for none
        or several."""
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
        """The values of the axes at a point, by which `result`, `law` and `compare` know it."""
        return {axis.name: self._label(point, axis) for axis in self.plan.axes}

    def estimate(self, point: Point, name: str) -> Interval:
        """A number of a point that is stored with its interval: the columns `name`, `name_low` and
        `name_high`.

        Raises ValueError when the point is not finished, or has no such columns.
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
        """The stored columns of a point. Raises ValueError when it is not finished."""
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
        """What the point's run returned: for escapes an `EscapeResult`, bit for bit, without its
        speed."""
        point = self.point(at)
        return self.plan.experiment.outcome(point.settings, self.columns(point), Job(point.seed))

    def law(self, at: Arg[Mapping[str, Any]]) -> Any:
        """The law of the point: for escapes an `EscapeLaw`, None where there is none."""
        return self.plan.experiment.law(self.point(at).settings)

    def compare(self, at: Arg[Mapping[str, Any]], *, exact: Arg[bool] = False) -> Comparison:
        """The point's result against its law; with `exact` also against the exact mean, in one
        dimension.

        Raises ValueError where the point has no law, and what `compare` and `exact_exit` raise.
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
        """Straight lines through log(mean escape time) along an axis, by default along every one
        that changes what is run; see `scaling_fits`."""
        return scaling_fits(self, axis, quantity, form=form, confidence=confidence)

    def to_parquet(self, path: Arg[PathLike]) -> None:
        """Write the numbers of all points, one row a point, for tools that read tables. The rows of
        trajectories stay here.

        Raises ValueError for a path that cannot be written, ImportError without pyarrow.
        """
        if not isinstance(path, str | os.PathLike):
            raise ValueError(f'path must be a file, not {path!r}. For example "points.parquet".')
        frame = self.data
        narrow = frame.drop_dims([d for d in frame.dims if d not in self.plan.dims])
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise errors.missing_extra("pyarrow", "sweep", "export to parquet") from None
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
    seed: Arg[Integer] = 0,
) -> tuple[ScalingFit, ...]:
    """Fit every line of at least three finished points along an axis.

    Args:
        sweep: with columns `mean_time` and `escapes`; it may be unfinished.
        axis: an axis of positive numbers; by default every one that changes what is run.
        quantity: "mean_time", or "ratio", the mean over the law's.
        form: "power" or "exponential".
        confidence: coverage of the intervals.
        resamples, seed: of the bootstrap, where points share their noise.

    Returns:
        A fit for each line, those of one axis after those of another. Empty where no line has three
        points.

    Raises:
        TypeError, ValueError: bad arguments; an axis that does not exist, or is not of positive
            numbers; no escape times.
    """
    errors.choice("quantity", quantity, ("mean_time", "ratio"))
    errors.choice("form", form, ("power", "exponential"))
    confidence = errors.fraction("confidence", confidence)
    resamples = errors.integer("resamples", resamples, "resamples=500", low=20)
    store = errors.instance("sweep", sweep, Sweep, "open_sweep(folder)").store
    table = read_table(store)
    axes = fitted_axes(table, axis)
    covariance = log_mean_covariance(store, table, resamples, errors.seed(seed))
    return tuple(
        fit
        for name in axes
        for line in lines_along(table, name, covariance, LEAST_POINTS)
        if (fit := fit_line(line, name, quantity, form, confidence, store.spec.coupled)) is not None
    )


def _is(label: Any, value: Any) -> bool:
    if isinstance(label, float) and isinstance(value, int | float):
        return bool(np.isclose(label, value, rtol=1e-9, atol=0))
    return label == value or str(label) == str(value)
