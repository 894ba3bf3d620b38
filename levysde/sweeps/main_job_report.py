"""What `levysde escape` prints and writes. It reads only the store of a main job, so no network is
trained."""

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from levysde import errors, plots
from levysde.sweeps.escapes import restored
from levysde.sweeps.main_job import MainJob
from levysde.sweeps.plan import Point
from levysde.sweeps.rows import Row, kinds_of, read_table
from levysde.sweeps.sweep import Sweep
from levysde.types import Arg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NOTE = (
    "predicted, measured: mean escape time in SDE time; ratio: measured over predicted; "
    "simulated: the law's own error, mean over predicted in a short simulation at half the step; "
    "[95% intervals]; shape: Weibull, 1 if exponential; regime: rate over relaxation"
)
_HEADS = (
    "optimiser",
    "alpha",
    "eps",
    "m(W)",
    "predicted",
    "measured",
    "ratio",
    "simulated",
    "shape",
    "p(exp)",
    "censored",
    "regime",
)


def main_job_report(sweep: Arg[Sweep]) -> str:
    """Write the numbers and the figure of a main job into its store, as escape.json and escape.png.

    Args:
        sweep: a `Sweep` of the experiment "main-job"; unfinished points are left out.

    Returns:
        The minima, the table and its warnings as text.

    Raises:
        TypeError, ValueError: not a sweep, one of another experiment, or without a finished point.
        OSError: the store cannot be written.
    """
    store = errors.instance("sweep", sweep, Sweep, "open_sweep(folder)").store
    if store.spec.experiment != MainJob.name or not store.finished():
        raise ValueError(
            f"{store.place.url} has no finished point of the main job. Run: levysde "
            "escape --out FOLDER"
        )
    points = sweep.finished
    rows = list(zip((point.settings for point in points), read_table(store).done, strict=True))
    found = {
        "settings": {
            "seed": store.spec.seed,
            **rows[0][0].model_dump(),
            **store.spec.grid,
            **store.spec.list,
        },
        "versions": store.attributes["versions"],
        "device": store.attributes["device"],
        "seconds": sum(how["seconds"] for how in store.how().values()),
        "minima": list(
            {settings.optimizer: _minimum(settings, row) for settings, row in rows}.values()
        ),
        "rows": [_numbers(settings, row) for settings, row in rows],
    }
    store.place.write(json.dumps(found, indent=1).encode(), "escape.json")
    store.place.write(_figure(sweep, points, found["rows"]), "escape.png")
    return "\n".join(
        [
            *map(_described, found["minima"]),
            "",
            *_table(found["rows"]),
            _NOTE,
            *_warnings(found["rows"]),
        ]
    )


def _minimum(settings: Any, row: Row) -> dict[str, Any]:
    return {
        "optimizer": settings.optimizer,
        "alpha": settings.alpha,
        "dt": row.get("dt"),
        "loss": row.get("loss"),
        "gradient_norm": row.get("gradient_norm"),
        "hessian_eigenvalues": [row.get("smallest_eigenvalue"), row.get("largest_eigenvalue")],
        "star_shaped": bool(row.get("star_shaped")),
        "basin_height": row.get("height"),
        "noise": row.words["gradient_noise"] or None,
    }


def _numbers(settings: Any, row: Row) -> dict[str, Any]:
    """A row as plain numbers; times in SDE time, None for missing numbers."""

    def number(name: str) -> float | None:
        return None if np.isnan(row.get(name)) else row.get(name)

    def spread(name: str) -> list[float | None] | None:
        return (
            None
            if number(name) is None
            else [number(name), number(f"{name}_low"), number(f"{name}_high")]
        )

    exits, censored = int(row.get("escapes")), int(row.get("censored"))
    return {
        "optimizer": settings.optimizer,
        "alpha": settings.alpha,
        "epsilon": number("epsilon"),
        "dt": number("dt"),
        "m(W)": number("measure"),
        "predicted_mean": number("predicted_mean"),
        "predicted_steps": number("predicted_steps"),
        "measured_mean": spread("mean_time"),
        "ratio": spread("ratio"),
        "law_error": spread("law_error"),
        "shape": spread("shape"),
        "p_exponential": number("p_exponential"),
        "num": exits + censored,
        "exits": exits,
        "censored_share": censored / (exits + censored),
        "regime": number("regime"),
        "warnings": list(row.warnings),
    }


def _described(m: dict[str, Any]) -> str:
    """A minimum and the noise measured there, as text."""
    low, high = m["hessian_eigenvalues"]
    star = "star-shaped" if m["star_shaped"] else "NOT star-shaped"
    lines = [
        f"\n{m['optimizer'].upper()}: loss {m['loss']:.6g}, gradient norm "
        f"{m['gradient_norm']:.1e}, Hessian eigenvalues "
        f"{low:.3g} to {high:.3g} (float64), basin height {m['basin_height']:g} ({star} along "
        "every noise ray), "
        f"dt = {m['dt']:.3g}"
    ]
    if m["noise"] is not None:
        lines.append(m["noise"])
        lines.append(
            f"  the rows below take alpha = {m['alpha']:g}, which is given and not measured, and "
            "the scale at that alpha"
        )
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as aligned lines; intervals are 95%."""
    cells: list[tuple[str, ...]] = [_HEADS]
    for r in rows:
        cells.append(
            (
                r["optimizer"],
                f"{r['alpha']:g}",
                f"{r['epsilon']:.4g}",
                f"{r['m(W)']:.3g}",
                f"{r['predicted_mean']:.4g}",
                _interval(r["measured_mean"], ".4g"),
                _interval(r["ratio"]),
                _interval(r["law_error"]),
                f"{r['shape'][0]:.3f}" if r["shape"] else "-",
                f"{r['p_exponential']:.2g}" if r["shape"] else "-",
                f"{r['censored_share']:.1%}",
                f"{r['regime']:.2g}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in cells
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _interval(spread: list[float] | None, form: str = ".3f") -> str:
    return f"{spread[0]:{form}} [{spread[1]:{form}}, {spread[2]:{form}}]" if spread else "-"


def _warnings(rows: list[dict[str, Any]]) -> list[str]:
    """One line for each kind of warning: its rows, and its text for the last of them."""
    return [
        f"warning ({', '.join(row for row, _ in own)}{'; numbers of the last' * (len(own) > 1)}): "
        f"{own[-1][1]}"
        for own in kinds_of(
            (f"{row['optimizer']} {row['epsilon']:.4g}", row["warnings"]) for row in rows
        )
    ]


def _figure(sweep: Sweep, points: list[Point], rows: list[dict[str, Any]]) -> bytes:
    """Survival at each optimiser's smallest noise, and the ratio along the noise levels, as a PNG
    file."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["optimizer"] for row in rows))
    sheet = Figure(figsize=(5.2 * (len(names) + 1), 4.4), layout="constrained")
    axes = sheet.subplots(1, len(names) + 1, squeeze=False)[0]
    for ax, name in zip(axes[:-1], names, strict=True):
        own = [k for k, row in enumerate(rows) if row["optimizer"] == name]
        last = max(own, key=lambda k: rows[k]["predicted_mean"])
        _survival(sweep, points[last], rows[last], ax)
        ratios = np.array([rows[k]["ratio"] for k in own], float)
        plots.ratios(
            [rows[k]["predicted_steps"] for k in own],
            ratios[:, 0],
            ratios[:, 1:],
            label=name.upper(),
            xlabel="predicted mean escape time (steps)",
            ax=axes[-1],
        )
    axes[-1].set_title("smaller noise to the right")
    file = io.BytesIO()
    sheet.savefig(file, format="png", dpi=150)
    return file.getvalue()


def _survival(sweep: Sweep, point: Point, numbers: dict[str, Any], ax: "Axes") -> None:
    result = restored(sweep.columns(point), point.settings.num, None, None, point.seed)
    plots.survival(
        result,
        label=f"measured, {numbers['exits']} exits:\nratio {_interval(numbers['ratio'])}",
        ax=ax,
    )
    mean = numbers["predicted_mean"]
    t = np.linspace(0, float(result.time.max()), 200)
    ax.plot(
        t,
        np.exp(-t / mean),
        color="k",
        linestyle="--",
        linewidth=1.2,
        label=f"law, mean {mean:.4g}",
    )
    ax.legend(frameon=False)
    ax.set_title(f"{numbers['optimizer'].upper()}, eps = {numbers['epsilon']:.3g}")
