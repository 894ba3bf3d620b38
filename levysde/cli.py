"""The `levysde` command: thin calls of public functions."""

import contextlib
import hashlib
import json
import re
import sys
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:  # jax is imported inside the commands, so that --help is instant
    from levysde.analysis import Case, EscapeSettings, Rung
    from levysde.stats import Estimate

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


class EngineName(StrEnum):
    local = "local"
    ray = "ray"


class LandscapeName(StrEnum):
    digits = "digits"
    quadratic = "quadratic"
    double_well = "double-well"


class NoiseName(StrEnum):
    components = "components"
    isotropic = "isotropic"


class OptimizerName(StrEnum):
    both = "both"
    sgd = "sgd"
    adam = "adam"


def _say_version(asked: bool) -> bool:
    if asked:
        import importlib.metadata

        import levysde

        typer.echo(f"levysde {levysde.__version__}, jax {importlib.metadata.version('jax')}")
        raise typer.Exit
    return asked


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the versions of levysde and jax.", callback=_say_version, is_eager=True),
    ] = False,
) -> None:
    """Escape times of stochastic optimisers under Gaussian and alpha-stable noise, simulated and held against theory."""


@app.command()
def escape(
    landscape: Annotated[
        LandscapeName, typer.Option(help="The loss: a network on 8x8 digits, or a well.")
    ] = LandscapeName.digits,
    noise: Annotated[
        NoiseName, typer.Option(help="Stable noise: independent coordinates, or isotropic.")
    ] = NoiseName.components,
    optimizer: Annotated[OptimizerName, typer.Option(help="Whose SDE: SGD's, ADAM's, or both.")] = OptimizerName.both,
    alpha: Annotated[float, typer.Option(help="Stability index, in (0, 2); 2 would be Gaussian.")] = 1.5,
    eps: Annotated[
        list[float] | None,
        typer.Option(
            help="Noise amplitude of a rung (repeat for a ladder). Default: predicted means of 30 to 1000 steps."
        ),
    ] = None,
    num: Annotated[int, typer.Option(help="Trajectories a rung.")] = 1500,
    seed: Annotated[
        int, typer.Option(help="Of data, training, noise measurement and trajectories; 0 to 2^63 - 1.")
    ] = 0,
    dt: Annotated[
        float | None, typer.Option(help="Step in SDE time. Default: 0.45 over the largest curvature.")
    ] = None,
    basin_height: Annotated[
        float | None,
        typer.Option(help="Rim of the basin over the minimum, in units of the loss. Default: by landscape."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the table, the figure and the numbers.")] = Path("escape_run"),
) -> None:
    """Measure escape times of SGD and ADAM from their minima and hold them against the law.

    Trains a small network with each, polishes it to its minimum, measures the gradient noise there, simulates thousands
    of escapes at each noise amplitude, and prints measured against predicted mean escape times (in SDE time). Interrupted
    runs go on when the same command is typed again.
    """
    from levysde import errors
    from levysde.analysis import EscapeSettings

    start = time.monotonic()
    optimizers = ("sgd", "adam") if optimizer is OptimizerName.both else (optimizer.value,)
    with _told_apart():
        errors.writable("out", out / "escape.json")
        settings = EscapeSettings(
            landscape.value, noise.value, optimizers, alpha, tuple(eps) if eps else None, num, seed, dt, basin_height
        )
        try:
            rungs = _run(settings, out)
        except errors.NonFiniteError as error:
            _quit(1, error)
        _finish(settings, rungs, out, time.monotonic() - start)


def _run(settings: "EscapeSettings", out: Path) -> "list[Rung]":
    from levysde.analysis import ladder, prepare, run_rung

    if settings.landscape == "digits":
        typer.echo("Training, polishing in float64, and measuring the gradient noise ...")
    cases = prepare(settings)
    rungs = []
    tag = hashlib.sha256(repr(settings).encode()).hexdigest()[:12]
    for case in cases:
        typer.echo(describe(case))
        for epsilon in ladder(settings, case):
            typer.echo(f"{case.optimizer}, eps = {epsilon:.4g}: {settings.num} trajectories")
            checkpoint = out / f".{tag}-{case.optimizer}-{epsilon:.6g}.npz"
            rungs.append(run_rung(settings, case, epsilon, checkpoint=checkpoint, progress=sys.stderr.isatty()))
    for saved in out.glob(f".{tag}-*.npz"):
        saved.unlink()
    return rungs


def describe(case: "Case") -> str:
    """The minimum's certificate and the noise measured there, in words."""
    m = case.minimum
    lines = [
        f"\n{case.optimizer.upper()}: loss {m.loss:.6g}, gradient norm {m.gradient_norm:.1e}, Hessian eigenvalues "
        f"{m.smallest_eigenvalue:.3g} to {m.largest_eigenvalue:.3g} (float64), basin height {case.height:g} "
        f"({'star-shaped' if case.law.star_shaped else 'NOT star-shaped'} along every noise ray), dt = {case.dt:.3g}"
    ]
    if case.noise is not None:
        lines.append(str(case.noise))
        lines.append(
            f"  the rows below take alpha = {case.law.alpha:g}, which is given and not measured, and the scale at that alpha"
        )
    return "\n".join(lines)


# fmt: off
def table(rungs: "list[Rung]") -> str:
    """The rows as aligned text; intervals are 95%."""
    head = (
        "optimiser", "alpha", "eps", "m(W)", "predicted", "measured", "ratio", "shape", "p(exp)", "censored", "regime",
        "steps/s", "useful",
    )
    rows: list[tuple[str, ...]] = [head]
    for rung in rungs:
        c, info, law = rung.comparison, rung.result.info, rung.law
        test = c.exponentiality
        rows.append(
            (
                rung.case.optimizer,
                f"{law.alpha:g}",
                f"{rung.epsilon:.4g}",
                f"{law.measure:.3g}",
                f"{law.mean:.4g}",
                str(c.mean),
                _interval(c.ratio),
                f"{test.shape.value:.3f}" if test else "-",
                f"{test.p_value:.2g}" if test else "-",
                f"{c.censored_share:.1%}",
                f"{law.regime:.2g}",
                f"{info.steps_per_second:.2g}",
                f"{info.useful_work:.2f}",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


# fmt: on
def _interval(ratio: "Estimate") -> str:
    return f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"


def _warnings(rungs: "list[Rung]") -> list[str]:
    """One line a kind of warning: the rows it concerns, and its words for the last of them."""
    kinds: dict[str, list[tuple[str, str]]] = {}
    for rung in rungs:
        for warning in rung.comparison.warnings:
            kind = re.sub(r"[\d.]+(e[+-]?\d+)?", "#", warning)
            kinds.setdefault(kind, []).append((f"{rung.case.optimizer} {rung.epsilon:.4g}", warning))
    return [
        f"warning ({', '.join(row for row, _ in rows)}{'; numbers of the last' * (len(rows) > 1)}): {rows[-1][1]}"
        for rows in kinds.values()
    ]


def _finish(settings: "EscapeSettings", rungs: "list[Rung]", out: Path, seconds: float) -> None:
    import dataclasses

    typer.echo("\n" + table(rungs))
    typer.echo("predicted, measured: mean escape time in SDE time; ratio: measured over predicted; [95% intervals]; shape: "
               "Weibull, 1 if exponential; regime: rate over relaxation")  # fmt: skip
    for line in _warnings(rungs):
        typer.echo(line)
    info = rungs[0].result.info
    report = {
        "settings": dataclasses.asdict(settings),
        "versions": info.versions,
        "device": info.device,
        "workers": info.workers,
        "seconds": seconds,
        "minima": [
            {
                "optimizer": case.optimizer,
                "loss": case.minimum.loss,
                "gradient_norm": case.minimum.gradient_norm,
                "hessian_eigenvalues": [case.minimum.smallest_eigenvalue, case.minimum.largest_eigenvalue],
                "star_shaped": case.law.star_shaped,
                "basin_height": case.height,
                "noise": None if case.noise is None else str(case.noise),
            }
            for case in {id(rung.case): rung.case for rung in rungs}.values()
        ],
        "rows": [rung.numbers() for rung in rungs],
    }
    (out / "escape.json").write_text(json.dumps(report, indent=1))
    figure(rungs, out / "escape.png")
    typer.echo(f"{seconds:.0f} s. Table, settings and versions: {out / 'escape.json'}; figure: {out / 'escape.png'}")


def figure(rungs: "list[Rung]", path: Path) -> None:
    """Survival at each optimiser's last rung, and the ratio along the ladder."""
    from matplotlib.figure import Figure

    from levysde import plots

    names = list(dict.fromkeys(rung.case.optimizer for rung in rungs))
    sheet = Figure(figsize=(5.2 * (len(names) + 1), 4.4), layout="constrained")
    axes = sheet.subplots(1, len(names) + 1, squeeze=False)[0]
    for ax, name in zip(axes[:-1], names, strict=True):
        own = [rung for rung in rungs if rung.case.optimizer == name]
        last = max(own, key=lambda rung: rung.law.mean)
        plots.survival(last.result, last.law, ax=ax)
        ax.set_title(f"{name.upper()}, eps = {last.epsilon:.3g}")
        steps = [rung.law.mean / rung.case.dt for rung in own]
        ratios = [rung.comparison.ratio for rung in own]
        plots.ratio_ladder(
            steps, [r.value for r in ratios], [(r.low, r.high) for r in ratios], label=name.upper(),
            xlabel="predicted mean escape time (steps)", ax=axes[-1],
        )  # fmt: skip
    axes[-1].set_title("smaller noise to the right")
    sheet.savefig(path, dpi=150)


@app.command()
def sweep(
    spec: Annotated[Path, typer.Argument(help="The TOML file that says what to run.")],
    out: Annotated[str, typer.Option(help="Folder or URL (s3://, gs://) of the result store.")],
    engine: Annotated[EngineName, typer.Option(help="In this process, or on a Ray cluster.")] = EngineName.local,
    shard: Annotated[
        str | None, typer.Option(help="i/n: of n processes that share the sweep, the i-th, from 0.", metavar="I/N")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Actors of the Ray engine; default: one an accelerator.")] = None,
    hosts_per_point: Annotated[int, typer.Option(help="How many Ray actors share each point.")] = 1,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run the points again that failed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print points, time and disk; run nothing.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="A line for each point.")] = False,
) -> None:
    """Run every point of a sweep and store it. The same command goes on after any interruption."""
    with _told_apart("stopped. Finished points are stored."):
        from levysde.sweeps import Place, estimate, make_plan, read_spec, run_sweep

        _log(verbose)
        if dry_run:
            typer.echo(repr(estimate(make_plan(read_spec(spec), spec.resolve().parent), Place(out))))
            return
        try:
            tally = run_sweep(
                spec, out, engine=engine.value, shard=shard, workers=workers, hosts_per_point=hosts_per_point,
                retry_failed=retry_failed, progress=sys.stderr.isatty(),
            )  # fmt: skip
        except OSError as error:
            _quit(
                3, f"the store cannot be written: {error}\nFinished points are in it. Type the command again to go on."
            )
    typer.echo(
        f"{tally.done} points run, {tally.failed} failed, {tally.skipped} there already, in {tally.seconds:.3g} s: {out}\n"
        f"Look at it: levysde report {out}"
    )
    if tally.failed:
        raise typer.Exit(1)


@app.command()
def status(store: Annotated[str, typer.Argument(help="Folder or URL of a sweep.")]) -> None:
    """How far a sweep is, from another shell or machine."""
    with _told_apart():
        from levysde.sweeps import sweep_status

        _log(False)
        typer.echo(repr(sweep_status(store)))


@app.command()
def report(
    store: Annotated[str, typer.Argument(help="Folder or URL of a sweep.")],
    out: Annotated[
        Path | None, typer.Option(help="The page to write. Default: report.html in the store, or here.")
    ] = None,
) -> None:
    """Write one page that holds what a sweep found: tables, figures, fits, warnings, how to reproduce it."""
    with _told_apart():
        from levysde.sweeps import open_sweep, write_report

        _log(False)
        found = open_sweep(store)
        page = out or (
            Path(found.store.place.root) / "report.html" if found.store.place.is_local else Path("report.html")
        )
        typer.echo(f"report: {write_report(found, page)}")


@app.command()
def export(
    store: Annotated[str, typer.Argument(help="Folder or URL of a sweep.")],
    out: Annotated[Path, typer.Argument(help="The parquet file to write.")],
) -> None:
    """Write the numbers of a sweep's points as one parquet table."""
    with _told_apart():
        from levysde.sweeps import open_sweep

        _log(False)
        open_sweep(store).to_parquet(out)
        typer.echo(f"table: {out}")


@app.command()
def study(
    path: Annotated[
        Path, typer.Argument(help="A study folder: a folder whose __init__.py defines STUDY, a levysde.studies.Study.")
    ],
    quick: Annotated[bool, typer.Option("--quick", help="The study's smaller run, with weaker verdicts.")] = False,
    section: Annotated[list[str] | None, typer.Option(help="Run only this section. May be repeated.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for verdicts, figures and data. Default: the study's name, with -results or -quick."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print a line for each point.")] = False,
) -> None:
    """Test claims by simulation: run a study and print a verdict on each of its claims.

    A study folder holds claims, the sweeps that test them, and the rule that judges the results: your own (see
    docs/howto/claims.md), or one of the papers in benchmarks/papers. The same command resumes an interrupted run.
    """
    with _told_apart("stopped. What is finished is stored."):
        from levysde.studies import load_study, run_study

        _log(verbose)
        found = load_study(path)
        folder = out or Path(f"{found.name}-{'quick' if quick else 'results'}")
        start = time.monotonic()
        try:
            verdicts = run_study(found, folder, quick=quick, sections=section, progress=sys.stderr.isatty())
        except RuntimeError as error:  # a point of a sweep failed
            _quit(1, error)
    for verdict in verdicts:
        condition = f" ({verdict.condition})" if verdict.condition else ""
        typer.echo(f"{verdict.word.upper()}{condition}: {verdict.claim.statement}")
        typer.echo(f"    where: {verdict.claim.source}\n    measured: {verdict.measured}")
    typer.echo(f"{time.monotonic() - start:.0f} s. Verdicts, figures and data: {folder}")


@contextlib.contextmanager
def _told_apart(stopped: str = "") -> Iterator[None]:
    """Errors of the input, or of the store, and Ctrl-C as one message, without the code that found them."""
    try:
        yield
    except (ValueError, TypeError, ImportError) as error:
        _quit(2, error)
    except OSError as error:
        _quit(3, error)
    except KeyboardInterrupt as stop:
        typer.echo("", err=True)
        _quit(130, f"{stopped or stop or 'stopped.'} Type the same command again to go on.")


def _quit(code: int, message: object) -> NoReturn:
    typer.echo(f"levysde: {message}", err=True)
    raise typer.Exit(code) from None


def _log(verbose: bool) -> None:
    import logging

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("levysde").setLevel(logging.INFO if verbose else logging.WARNING)
    for name in ("gcsfs", "s3fs", "botocore", "aiobotocore"):  # what they find comes as an error too
        logging.getLogger(name).setLevel(logging.WARNING if verbose else logging.CRITICAL)


def main() -> None:
    app()
