"""The `levysde` command: thin calls of public functions."""

import contextlib
import hashlib
import logging
import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer  # jax is imported inside the commands, so that --help is instant

_OPTIONS = {"epsilon": "eps", "training_seed": "seed"}  # that are not called as their settings

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


class EngineName(StrEnum):
    local = "local"
    ray = "ray"


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
        typer.Option(
            "--version",
            help="Print the versions of levysde and jax.",
            callback=_say_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Escape times of stochastic optimisers under Gaussian and alpha-stable noise, simulated and
    compared with theory."""
    _keep_programs()


def _keep_programs() -> None:
    """Lets JAX keep compiled programs for the next command, in a folder of the user's cache. An
    own JAX_COMPILATION_CACHE_DIR is used as it is; set to nothing, it keeps none."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    # a program made for another processor may crash, and JAX's key does not name the processor
    try:
        processor = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
        flags = re.findall(r"^(?:flags|Features|model name)\s*:.*", processor, re.MULTILINE)
    except OSError:
        flags = []
    about = repr((flags or platform.processor(), platform.machine()))
    name = f"programs-{hashlib.sha256(about.encode()).hexdigest()[:16]}"
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "levysde" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # no place to write
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    # on CPUs, XLA reports preferences of its own compiler as features that the processor lacks
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@app.command()
def escape(
    landscape: Annotated[
        str | None,
        typer.Option(
            help="The loss: digits (a network on 8x8 images), quadratic or double-well. "
            "Default: digits."
        ),
    ] = None,
    stable_noise: Annotated[
        str | None,
        typer.Option(
            help="Stable noise: components (independent coordinates) or isotropic. "
            "Default: components."
        ),
    ] = None,
    optimizer: Annotated[
        str, typer.Option(help="The optimiser whose SDE is simulated: sgd, adam or both.")
    ] = "both",
    alpha: Annotated[
        float | None, typer.Option(help="Stability index, in (0, 2). Default: 1.5.")
    ] = None,
    eps: Annotated[
        list[float] | None,
        typer.Option(
            help="Noise amplitude (may be repeated). Default: predicted means of 30, 100, 300 and "
            "1000 steps."
        ),
    ] = None,
    num: Annotated[
        int | None, typer.Option(help="Trajectories at each noise level. Default: 1500.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of data, training, noise measurement and trajectories. Default: 0."
        ),
    ] = None,
    dt: Annotated[
        float | None,
        typer.Option(help="Step in SDE time. Default: 0.45 over the largest curvature."),
    ] = None,
    basin_height: Annotated[
        float | None,
        typer.Option(
            help="Height of the basin's rim over the minimum, in units of the loss. Default: 0.05 "
            "for digits, else 0.5."
        ),
    ] = None,
    out: Annotated[
        str, typer.Option(help="Folder or URL of the data, the table and the figure.")
    ] = "escape_run",
) -> None:
    """Measure how long SGD and ADAM stay at their minima, and compare it with the escape law.

    Trains a small network with each optimiser, refines its minimum, measures the gradient noise
    there, simulates thousands of escapes at each noise amplitude, and prints measured and predicted
    mean escape times (in SDE time). The same command resumes an interrupted run. The settings are
    those of the specification main_job.toml, see `levysde sweep main-job`.
    """
    given = {
        "landscape": landscape,
        "stable_noise": stable_noise,
        "optimizer": None if optimizer == "both" else [optimizer],
        "alpha": alpha,
        "epsilon": eps,
        "num": num,
        "seed": seed,
        "dt": dt,
        "basin_height": basin_height,
    }
    start = time.monotonic()
    shows_bar = sys.stderr.isatty()
    with _reported("stopped. Finished points are stored.", verbose=not shows_bar, as_options=True):
        from levysde.sweeps import main_job_report, main_job_spec, open_sweep, run_sweep

        spec = main_job_spec({name: value for name, value in given.items() if value is not None})
        tally = run_sweep(spec, out, retry_failed=True, progress=shows_bar)
        if tally.failed:
            failures = open_sweep(out).failures
            _quit(1, "; ".join(f"{point}: {message}" for point, message in failures.items()))
        typer.echo(main_job_report(open_sweep(out)))
    typer.echo(
        f"{time.monotonic() - start:.0f} s. Numbers, figure and data: {out}/escape.json, "
        f"{out}/escape.png, {out}"
    )


@app.command()
def noise(
    file: Annotated[
        str,
        typer.Argument(help="Gradient noise of successive steps: .npz, .npy, .csv or .parquet."),
    ],
    name: Annotated[
        list[str] | None,
        typer.Option(help="Look at this column or array only. May be repeated."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="The figure to write: the tails of up to four series.")
    ] = Path("noise.png"),
) -> None:
    """Say which class of noise a file holds, and which escape law follows.

    The file holds values, norms or vectors, one for each step, for example the export of an
    experiment tracker. Prints the class, the fitted laws and the driver to type for each series.
    """
    with _reported():
        from matplotlib.figure import Figure

        from levysde import errors, plots
        from levysde.stats import read_noise

        page = errors.writable("out", out)
        log = read_noise(file)
        typer.echo(repr(log))
        found = {}
        for series in name or log.names:
            found[series] = log.classify(series)
            typer.echo(f"\n{series}\n{found[series]!r}")
        shown = list(found.items())[:4]
        rows, columns = -(-len(shown) // 2), min(2, len(shown))
        figure = Figure(figsize=(6 * columns, 5 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for (series, result), ax in zip(shown, panels, strict=False):
            plots.noise(result, ax=ax, label=series)
        for ax in panels[len(shown) :]:
            ax.remove()
        try:
            figure.savefig(page, dpi=150)
        except ValueError as error:  # an ending that matplotlib does not know
            _quit(2, f"out = {str(page)!r} cannot be drawn: {error}")
        typer.echo(f"\nfigure: {page}")


@app.command()
def sweep(
    spec: Annotated[str, typer.Argument(help="The TOML file that says what to run, or main-job.")],
    out: Annotated[str, typer.Option(help="Folder or URL (s3://, gs://) of the result store.")],
    engine: Annotated[
        EngineName, typer.Option(help="In this process, or on a Ray cluster.")
    ] = EngineName.local,
    shard: Annotated[
        str | None,
        typer.Option(
            help="i/n: of n processes that share the sweep, the i-th, from 0.", metavar="I/N"
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Points at a time on Ray. Default: one for each accelerator, or node."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run the points again that failed.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print points, time and disk; run nothing.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="A line for each point.")
    ] = False,
) -> None:
    """Run every point of a sweep and store it. The same command resumes it."""
    with _reported("stopped. Finished points are stored.", verbose):
        from levysde.sweeps import Place, estimate, make_plan, read_spec, run_sweep

        if dry_run:
            typer.echo(
                repr(estimate(make_plan(read_spec(spec), Path(spec).resolve().parent), Place(out)))
            )
            return
        try:
            tally = run_sweep(
                spec,
                out,
                engine=engine.value,
                shard=shard,
                workers=workers,
                retry_failed=retry_failed,
                progress=sys.stderr.isatty(),
            )
        except OSError as error:
            _quit(
                3,
                f"the store cannot be written: {error}\nFinished points are in it. Type the "
                "command again to resume.",
            )
    typer.echo(
        f"{tally.done} points run, {tally.failed} failed, {tally.skipped} already done, in "
        f"{tally.seconds:.3g} s: {out}\n"
        f"Look at it: levysde report {out}"
    )
    if tally.failed:
        raise typer.Exit(1)


@app.command()
def status(store: Annotated[str, typer.Argument(help="Folder or URL of a sweep.")]) -> None:
    """Show the progress of a sweep, from any shell or machine."""
    with _reported():
        from levysde.sweeps import sweep_status

        typer.echo(repr(sweep_status(store)))


@app.command()
def report(
    store: Annotated[str, typer.Argument(help="Folder or URL of a sweep.")],
    out: Annotated[
        Path | None,
        typer.Option(help="The page to write. Default: report.html in the store, or here."),
    ] = None,
) -> None:
    """Write a page with a sweep's results: tables, figures, fits, warnings, how to reproduce it."""
    with _reported():
        from levysde.sweeps import open_sweep, write_report

        found = open_sweep(store)
        page = out or (
            Path(found.store.place.root) / "report.html"
            if found.store.place.is_local
            else Path("report.html")
        )
        typer.echo(f"report: {write_report(found, page)}")


@app.command()
def export(
    store: Annotated[str, typer.Argument(help="Folder or URL of a sweep.")],
    out: Annotated[Path, typer.Argument(help="The parquet file to write.")],
) -> None:
    """Write the numbers of a sweep's points as one parquet table."""
    with _reported():
        from levysde.sweeps import open_sweep

        open_sweep(store).to_parquet(out)
        typer.echo(f"table: {out}")


@app.command()
def study(
    path: Annotated[
        Path,
        typer.Argument(
            help="A study folder: a folder whose __init__.py defines STUDY, a "
            "levysde.studies.Study."
        ),
    ],
    quick: Annotated[
        bool, typer.Option("--quick", help="The study's smaller run, with weaker verdicts.")
    ] = False,
    section: Annotated[
        list[str] | None, typer.Option(help="Run only this section. May be repeated.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for verdicts, figures and data. Default: the study's name, with -results "
            "or -quick."
        ),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print a line for each point.")
    ] = False,
) -> None:
    """Test claims by simulation: run a study and print a verdict on each of its claims.

    A study folder holds claims, the sweeps that test them, and the rule that judges the results:
    your own (see docs/howto/claims.md), or one of the papers in benchmarks/papers. The same command
    resumes an interrupted run.
    """
    with _reported("stopped. What is finished is stored.", verbose):
        from levysde.studies import load_study, run_study

        found = load_study(path)
        folder = out or Path(f"{found.name}-{'quick' if quick else 'results'}")
        start = time.monotonic()
        try:
            verdicts = run_study(
                found, folder, quick=quick, sections=section, progress=sys.stderr.isatty()
            )
        except RuntimeError as error:  # a point of a sweep failed
            _quit(1, error)
    for verdict in verdicts:
        condition = f" ({verdict.condition})" if verdict.condition else ""
        typer.echo(f"{verdict.word.upper()}{condition}: {verdict.claim.statement}")
        typer.echo(f"    where: {verdict.claim.source}\n    measured: {verdict.outcome}")
    typer.echo(f"{time.monotonic() - start:.0f} s. Verdicts, figures and data: {folder}")


@contextlib.contextmanager
def _reported(stopped: str = "", verbose: bool = False, as_options: bool = False) -> Iterator[None]:
    """Report errors of the input or the store, and Ctrl-C, as one message without a traceback.

    With `as_options`, settings have the names of their options. With `verbose`, log more.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("levysde").setLevel(logging.INFO if verbose else logging.WARNING)
    for name in ("gcsfs", "s3fs", "botocore", "aiobotocore"):
        # what they log is raised as an error too
        logging.getLogger(name).setLevel(logging.WARNING if verbose else logging.CRITICAL)
    try:
        yield
    except (ValueError, TypeError, ImportError) as error:
        _quit(2, _with_options(str(error)) if as_options else error)
    except OSError as error:
        _quit(3, error)
    except KeyboardInterrupt as stop:
        typer.echo("", err=True)
        _quit(130, f"{stopped or stop or 'stopped.'} Type the same command again to resume.")


def _with_options(message: str) -> str:
    """A message about settings of the main job with the names of the options."""
    named = re.sub(
        r"\brun\.(\w+):",
        lambda setting: f"--{_OPTIONS.get(setting[1], setting[1]).replace('_', '-')}:",
        re.sub(r" \(point [^)]*\)$", "", message),
    )
    return named if named == message else f"{named} See levysde escape --help."


def _quit(code: int, message: object) -> NoReturn:
    typer.echo(f"levysde: {message}", err=True)
    raise typer.Exit(code) from None


def main() -> None:
    app()
