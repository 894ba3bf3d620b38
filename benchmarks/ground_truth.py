"""Escape times and laws against exact references: each row a case, what was measured, and what it
had to reach.

Fixed before any run: the cases, the steps, the seed, the numbers of trajectories, and the criteria
in `GOALS`; every row is printed and saved. A row fails when it is off by more than the goal; where
it is random, also when its standard error could not have shown that (three of them exceed the
goal). `covered` counts how many 95% intervals hold the exact value.

    no drift       exact means of Getoor and Ryznar; JumpAdapted, boundary shifted, extrapolated
                   over the cutoff
    stable wells   the nonlocal equation; the same stepper at one dt and cutoff
    gaussian wells quadrature; exact flow with a Brownian bridge, at a dt ten times one at which
        plain Euler misses the goal
    brownian       exact means from balls and boxes; Euler with a bridge, extrapolated
    between wells  first passage between minima by quadrature (Gaussian), the chain on minima
                   (stable), 2 to 4 wells
    minibatch      Xie, Sato, Sugiyama, Theorem 3.2, two frozen temperatures: quadrature only, no
                   simulation
    stationary     discrete SGD with momentum at a large learning rate

Run: python benchmarks/ground_truth.py [--only "no drift" ...] [--share 1.0] [--seed 0] [--out
results/ground_truth.json] `--share` scales the numbers of trajectories; rows then say so by their
standard errors.
"""

import argparse
import importlib.metadata
import itertools
import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from math import cos, exp, nan, pi
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import erf, expit

import levysde as ls
from levysde import theory

GOALS = {
    "no drift": 0.005,
    "stable wells": 0.01,
    "gaussian wells": 0.005,
    "brownian": 0.003,
    "between wells": 0.03,
    "minibatch": 0.01,
    "stationary": 0.01,
}


@dataclass(frozen=True)
class Row:
    """A measured number over its reference. `error` is relative, with its standard error (NaN where
    nothing is random)."""

    section: str
    case: str
    quantity: str
    measured: float
    reference: float
    standard_error: float
    goal: float
    seconds: float

    @property
    def error(self) -> float:
        return self.measured / self.reference - 1

    @property
    def reached(self) -> bool:
        """Within the goal, by a run that could have shown it; a goal below 0 has to be missed by
        that much at least."""
        if self.goal < 0:
            return abs(self.error) > -self.goal + 3 * np.nan_to_num(self.standard_error)
        return abs(self.error) <= self.goal and not 3 * self.standard_error > self.goal

    @property
    def covered(self) -> bool:
        return not abs(self.error) > 1.96 * self.standard_error


def flat(dim: int) -> ls.Quadratic:
    return ls.Quadratic(hessian=jnp.zeros(dim))


def averaged(result: ls.EscapeResult, reference: float) -> tuple[float, float]:
    """Mean and its relative standard error."""
    return float(result.time.mean()), float(
        result.time.std(ddof=1) / np.sqrt(result.num) / reference
    )


def no_drift(num: int, seed: int) -> Iterator[tuple]:
    """Unit ball from the centre; cutoffs 0.4 and 0.2, after the shift the error is taken to fall as
    the square."""
    for noise in ("components", "isotropic"):
        # in one dimension they are one
        for dim in (1, 2, 10) if noise == "components" else (2, 10):
            for alpha in (0.5, 0.8, 1.0, 1.2, 1.5, 1.8, 1.9) if dim < 10 else (0.5, 1.0, 1.5, 1.9):
                driver = (
                    ls.StableComponents(alpha)
                    if noise == "components"
                    else ls.StableIsotropic(alpha)
                )
                exact = (
                    theory.ryznar_mean_exit if noise == "components" else theory.getoor_mean_exit
                )
                reference = exact(alpha=alpha, dim=dim)
                dynamics = ls.SGD(flat(dim), driver, epsilon=1.0)
                ball = ls.Ball(radius=1.0, center=jnp.zeros(dim))

                def make(cutoff, dynamics=dynamics, ball=ball, reference=reference):
                    basin = ls.Shifted(ball, dynamics, cutoff=cutoff)
                    return ls.JumpAdapted(
                        dynamics, dt=0.05 * reference, cutoff=cutoff, domain=basin
                    ), basin

                found = ls.extrapolate_escape(
                    make,
                    jnp.zeros(dim),
                    steps=[0.4, 0.2],
                    num=[num, 2 * num],
                    seed=seed,
                    order=2.0,
                    lanes=1024,
                )
                spread = (found.mean.high - found.mean.low) / 2 / 1.96 / reference
                yield (
                    f"{noise}, d = {dim}, alpha = {alpha}",
                    "mean exit time",
                    found.mean.value,
                    reference,
                    spread,
                )


def stable_wells(num: int, seed: int) -> Iterator[tuple]:
    """dt = 0.04 over the largest curvature, a cutoff of a fiftieth of the distance to the edge: a
    first run with a fifth was up to 2.4% late where the noise is small, since there the drift keeps
    paths off the edge and the shift is not needed."""
    wells = {
        "OU, (-1, 1)": (ls.Quadratic(hessian=jnp.ones(1)), lambda x: -x, 0.0, -1.0, 1.0, 1.0),
        "double well, (-2, 0)": (
            ls.DoubleWell(barrier=0.25),
            lambda x: x - x**3,
            -1.0,
            -2.0,
            0.0,
            2.0,
        ),
    }
    for name, (well, drift, start, lower, upper, steepest) in wells.items():
        for alpha in (1.2, 1.5, 1.8):
            for epsilon in (1.0, 0.5, 0.2, 0.1, 0.05):
                case = f"{name}, alpha = {alpha}, eps = {epsilon}"
                exact = theory.stable_exit(
                    drift, alpha=alpha, epsilon=epsilon, start=start, lower=lower, upper=upper
                )
                yield (
                    case,
                    "solver's own error",
                    1 + exact.error,
                    1.0,
                    nan,
                    1e-5 if "OU" in name else 1e-4,
                )
                dynamics = ls.SGD(well, ls.StableComponents(alpha), epsilon=epsilon)
                cutoff = 0.02 / epsilon
                box = ls.Box(lower=jnp.array([lower]), upper=jnp.array([upper]))
                basin = ls.Shifted(box, dynamics, cutoff=cutoff)
                dt = min(0.04 / steepest, 0.05 * exact.mean)
                kernel = ls.JumpAdapted(dynamics, dt=dt, cutoff=cutoff, domain=basin)
                run = ls.simulate_escape(kernel, basin, jnp.array([start]), num=num, seed=seed)
                yield case, "mean exit time", *pair(run, exact.mean)


def pair(run: ls.EscapeResult, reference: float) -> tuple[float, float, float]:
    mean, error = averaged(run, reference)
    return mean, reference, error


def gaussian_wells(num: int, seed: int) -> Iterator[tuple]:
    """The Euler row shows how far off the tenth of the bridge's dt still is: it has to miss the
    goal."""
    tang = ls.StyblinskiTang(1)
    deep, top = float(tang.minimum[0]), float(np.sort(np.roots([2, 0, -16, 2.5]).real)[1])
    wells = {
        "OU, (-1, 1), D = 0.2": (
            ls.Quadratic(hessian=jnp.ones(1)),
            lambda x: -x,
            0.2,
            0.0,
            -1.0,
            1.0,
            0.05,
        ),
        "double well, (-2, 0), D = 0.1": (
            ls.DoubleWell(barrier=0.25),
            lambda x: x - x**3,
            0.1,
            -1.0,
            -2.0,
            0.0,
            0.02,
        ),
        "Styblinski-Tang, (-4.5, top), D = 8": (
            tang,
            lambda x: -(2 * x**3 - 16 * x + 2.5),
            8.0,
            deep,
            -4.5,
            top,
            0.001,
        ),
    }
    for name, (well, drift, diffusion, start, lower, upper, dt) in wells.items():
        exact = theory.first_passage(drift, diffusion, start=start, lower=lower, upper=upper).mean
        dynamics = ls.Langevin(well, diffusion=diffusion)
        box = ls.Box(lower=jnp.array([lower]), upper=jnp.array([upper]))
        x0 = jnp.array([start])
        kernel = ls.Bridged(ls.OrnsteinUhlenbeck(dynamics, dt=dt), box)
        run = ls.simulate_escape(kernel, box, x0, num=num, seed=seed)
        yield f"{name}, dt = {dt:g}", "mean exit time, bridge", *pair(run, exact)
        late = ls.simulate_escape(
            ls.EulerMaruyama(dynamics, dt=dt / 10), box, x0, num=num // 4, seed=seed
        )
        yield (
            f"{name}, dt = {dt / 10:g}",
            "mean exit time, plain Euler",
            *pair(late, exact),
            -GOALS["gaussian wells"],
        )


def box_mean(dim: int) -> float:
    """Brownian motion from the middle of (-1, 1)^dim: the integral of the product of survivals, by
    their series."""

    def survival(t: float) -> float:
        if t < 0.05:  # by reflected normals
            return float(
                sum(
                    (-1) ** k
                    * (erf((2 * k + 1) / (2 * t) ** 0.5) - erf((2 * k - 1) / (2 * t) ** 0.5))
                    / 2
                    for k in range(-3, 4)
                )
            )
        terms = range(60)
        return sum(
            4 / pi * (-1) ** k / (2 * k + 1) * exp(-((2 * k + 1) ** 2) * pi**2 * t / 8)
            for k in terms
        )

    pieces = [0.0, 0.02, 0.1, 0.5, 2.0, 40.0]
    return sum(
        quad(lambda t: survival(t) ** dim, a, b, epsabs=1e-12)[0]
        for a, b in itertools.pairwise(pieces)
    )


def brownian(num: int, seed: int) -> Iterator[tuple]:
    """Steps of a twentieth and a fortieth of the mean. Exit times vary less in more dimensions,
    which take fewer paths."""
    for shape in ("ball", "box"):
        for dim, share in ((1, 1.0), (2, 0.8), (3, 0.7), (5, 0.5), (10, 0.3)):
            few = int(share * num)
            exact = theory.brownian_mean_exit(dim=dim) if shape == "ball" else box_mean(dim)
            centre, ones = jnp.zeros(dim), jnp.ones(dim)
            domain = (
                ls.Ball(radius=1.0, center=centre)
                if shape == "ball"
                else ls.Box(lower=-ones, upper=ones)
            )
            dynamics = ls.Langevin(flat(dim), diffusion=0.5)

            def make(dt, dynamics=dynamics, domain=domain):
                return ls.Bridged(ls.EulerMaruyama(dynamics, dt=dt), domain), domain

            found = ls.extrapolate_escape(
                make,
                centre,
                steps=[exact / 20, exact / 40],
                num=[few, 2 * few],
                seed=seed,
                order=1.0,
                lanes=1024,
            )
            spread = (found.mean.high - found.mean.low) / 2 / 1.96 / exact
            yield f"{shape}, d = {dim}", "mean exit time", found.mean.value, exact, spread


def smooth_wells(count: int) -> tuple[Callable, Callable, np.ndarray]:
    """`(1 - cos(pi x)) / 4 + x / 20` between two soft walls: n wells of barriers about 1/2,
    analytic (the correction to Eyring and Kramers is then of order D). The loss, the drift, and the
    stationary points near 0, 1, ..., 2n - 2."""
    last = 2 * count - 2

    def loss(x):
        walls = jax.nn.softplus(8 * (x[0] - last - 0.8)) + jax.nn.softplus(-8 * (x[0] + 0.8))
        return (1 - jnp.cos(jnp.pi * x[0])) / 4 + x[0] / 20 + walls * 3 / 8

    def drift(x):
        walls = expit(8 * (x - last - 0.8)) - expit(-8 * (x + 0.8))
        return -(pi / 4 * np.sin(pi * x) + 0.05 + 3 * walls)

    return (
        loss,
        drift,
        np.array([brentq(drift, k - 0.2, k + 0.2, xtol=1e-14) for k in range(last + 1)]),
    )


def between_wells(num: int, seed: int) -> Iterator[tuple]:
    """Rates from one minimum to each other one: the number that went there over the time at
    risk."""
    for count in (2, 3, 4):
        yield from gaussian_rates(count, num, seed)
    for count in (2, 3, 4):
        yield from stable_rates(count, num, seed)


def gaussian_rates(count: int, num: int, seed: int) -> Iterator[tuple]:
    """From each minimum to its neighbours. Eyring and Kramers at D = 1/200, a run at D = 1/8, both
    against quadrature."""
    loss, drift, places = smooth_wells(count)
    minima, saddles = places[::2], places[1::2]
    for diffusion in (0.125, 0.005):
        marked = [ls.from_function(loss, dim=1, minimum=jnp.array([place])) for place in minima]
        chain = theory.gaussian_chain(
            marked[0], minima=minima[:, None], saddles=saddles[:, None], diffusion=diffusion
        )
        for start in range(count):
            ends = {
                name: float(minima[i])
                for name, i in (("lower", start - 1), ("upper", start + 1))
                if 0 <= i < count
            }
            wall = {} if len(ends) == 2 else {"reflecting": -2.5 if start == 0 else 2 * count + 0.5}
            exact = theory.first_passage(
                drift, diffusion, start=float(minima[start]), **ends, **wall
            )
            shares = {start - 1: 1 - exact.upper_probability, start + 1: exact.upper_probability}
            run = None
            if diffusion == 0.125:
                lower, upper = ends.get("lower", -np.inf), ends.get("upper", np.inf)
                box = ls.Box(lower=jnp.array([lower]), upper=jnp.array([upper]))
                stepper = ls.OrnsteinUhlenbeck(
                    ls.Langevin(marked[start], diffusion=diffusion), dt=0.02
                )
                x0 = marked[start].minimum
                paths = (
                    num // 2 if len(ends) == 2 else num // 8
                )  # enough for the rarer of two ways, or for the only one
                run = ls.simulate_escape(ls.Bridged(stepper, box), box, x0, num=paths, seed=seed)
            for label, other in ((1, start - 1), (2, start + 1)):
                if not 0 <= other < count:
                    continue
                case, rate = (
                    f"Gaussian, {count} wells, {start} to {other}, D = {diffusion}",
                    shares[other] / exact.mean,
                )
                if run is None:
                    yield (
                        case,
                        "Eyring-Kramers over quadrature",
                        chain.rates[start, other],
                        rate,
                        nan,
                    )
                else:
                    yield case, "run over quadrature", *rate_of(run, label, rate)


def stable_rates(count: int, num: int, seed: int) -> Iterator[tuple]:
    """From the first and the second minimum to each other one; wells of different depth, width 2
    and curvature."""
    heights = [0.0, 0.5, 0.1, 0.55, 0.05, 0.6, 0.0][: 2 * count - 1]
    curvatures = [2.4, -2.0, 2.0, -2.2, 2.2, -2.4, 2.6][: 2 * count - 1]
    well = ls.WellChain(np.arange(2.0 * count - 1), heights, curvatures)
    minima, saddles = (np.asarray(places, float)[:, 0] for places in (well.minima, well.saddles))
    chain = theory.stable_chain(minima, saddles, alpha=1.2, epsilon=0.01)
    kernel = ls.JumpAdapted(
        ls.SGD(well, ls.StableComponents(1.2), epsilon=0.01), dt=0.05, cutoff=20.0
    )
    for start in range(2):
        others = [j for j in range(count) if j != start]
        sets = ls.ExitSets(*(ls.Ball(radius=0.3, center=well.minima[j]) for j in others))
        paths = int(num * {2: 0.12, 3: 0.45, 4: 1.0}[count])  # the farthest well is the rarest
        run = ls.simulate_escape(kernel, sets, well.minima[start], num=paths, seed=seed)
        for label, other in enumerate(others, 1):
            case = f"stable, alpha = 1.2, eps = 0.01, {count} wells, {start} to {other}"
            yield case, "run over chain", *rate_of(run, label, chain.rates[start, other])


def rate_of(run: ls.EscapeResult, label: int, reference: float) -> tuple[float, float, float]:
    hits = int(np.sum(run.label == label))
    return hits / float(run.time.sum()), reference, 1 / max(hits, 1) ** 0.5


def minibatch(num: int, seed: int) -> Iterator[tuple]:
    """`L = (x^2 - 1)^2 / 4`: H_a = 2, |H_b| = 1, dL = 1/4; D = T H_a up to where L has climbed s
    dL, T |H_b| above, T = eta / 2B. First passage from -1 to 1, by a double sum in logarithms on
    400,001 points."""
    x = np.linspace(-3.0, 1.0, 400_001)
    h = x[1] - x[0]
    for s in (0.2, 0.5, 0.8):
        switch = -np.sqrt(1 - np.sqrt(s))
        temperatures = np.array([1 / 100, 1 / 200, 1 / 400, 1 / 800])
        logs = []
        for t in temperatures:
            d = np.where((x > switch) & (x < -switch), t * 1.0, t * 2.0)
            slope = (x**3 - x) / d
            psi = np.concatenate([[0.0], np.cumsum((slope[1:] + slope[:-1]) * h / 2)])
            inner = np.logaddexp.accumulate(-psi - np.log(d)) + np.log(h)
            outer = (psi + inner)[x >= -1]
            logs.append(np.logaddexp.reduce(outer) + np.log(h))
        expected = 0.25 * (s / 2 + (1 - s) / 1)
        slopes = np.diff(logs) / np.diff(1 / temperatures)
        yield (
            f"s = {s}, T from 1/400 to 1/800",
            "slope of log tau against 1/T",
            slopes[-1],
            expected,
            nan,
        )
        for name, batch in (
            ("corrected", 0.5 / temperatures[-1]),
            ("printed", 0.5 / temperatures[-1]),
        ):
            law = theory.xie_law(
                barrier=0.25,
                minimum_curvature=2.0,
                saddle_curvature=-1.0,
                learning_rate=1.0,
                batch_size=batch,
                path_fraction=s,
                prefactor=name,
            )
            prefactor = exp(logs[-1] - law.exponent)
            goal = (GOALS["minibatch"],) if name == "corrected" else (-GOALS["minibatch"],)
            yield (
                f"s = {s}, T = 1/800",
                f"prefactor over the {name} one",
                prefactor,
                law.mean / exp(law.exponent),
                nan,
                *goal,
            )


def stationary(num: int, seed: int) -> Iterator[tuple]:
    """Curvatures 1.2 and 0.3 along slanted axes, noise of another covariance; 40 looks at every
    path."""
    turn = np.array([[cos(0.5), -np.sin(0.5)], [np.sin(0.5), cos(0.5)]])
    hessian = turn @ np.diag([1.2, 0.3]) @ turn.T
    root = np.array([[0.5, 0.1], [0.0, 0.3]])
    well = ls.Quadratic(hessian=jnp.asarray(hessian))
    for momentum, nesterov, rate in ((0.0, False, 1.4), (0.9, False, 2.4), (0.9, True, 0.9)):
        exact = theory.sgd_covariance(
            hessian, root @ root.T, learning_rate=rate, momentum=momentum, nesterov=nesterov
        ).position
        noise = {"learning_rate": rate, "scale": jnp.asarray(root)}
        dynamics = (
            ls.Momentum(well, ls.Brownian(), momentum=momentum, nesterov=nesterov, **noise)
            if momentum
            else ls.SGD(well, ls.Brownian(), **noise)
        )
        kernel = ls.EulerMaruyama(dynamics, dt=rate)
        paths = ls.simulate_paths(
            kernel, jnp.zeros(2), seed=seed, num=num, every=40, max_steps=40 * 45
        )
        seen = paths.positions[:, 6:]
        for name, i, j in (("w_0^2", 0, 0), ("w_1^2", 1, 1), ("w_0 w_1", 0, 1)):
            # of an error of w_0 w_1, whose mean may be near 0
            size = np.sqrt(exact[i, i] * exact[j, j])
            each = (seen[:, :, i] * seen[:, :, j]).mean(1) - exact[i, j] + size
            error = each.std(ddof=1) / np.sqrt(len(each)) / size
            kind = f"momentum {momentum}{', Nesterov' if nesterov else ''}, learning rate {rate}"
            yield kind, f"mean of {name}, error over the deviations", each.mean(), size, error


SECTIONS = {
    "no drift": (no_drift, 350_000),
    "stable wells": (stable_wells, 110_000),
    "gaussian wells": (gaussian_wells, 1_000_000),
    "brownian": (brownian, 2_200_000),
    "between wells": (between_wells, 100_000),
    "minibatch": (minibatch, 1),
    "stationary": (stationary, 50_000),
}


def rows(section: str, share: float, seed: int) -> Iterator[Row]:
    cases, num = SECTIONS[section]
    start = time.perf_counter()
    for case, quantity, measured, reference, error, *goal in cases(
        max(1000, int(num * share)), seed
    ):
        seconds = time.perf_counter() - start
        yield Row(
            section,
            case,
            quantity,
            measured,
            reference,
            error,
            goal[0] if goal else GOALS[section],
            seconds,
        )
        start = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=sorted(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found: list[Row] = []
    for section in options.only:
        for row in rows(section, options.share, options.seed):
            found.append(row)
            spread = (
                f" +- {row.standard_error:.3%}" if row.standard_error == row.standard_error else ""
            )
            about = (
                f"{section}: {row.case}: {row.quantity}: {row.measured:.6g} / {row.reference:.6g}"
            )
            verdict = "ok  " if row.reached else "MISS"
            print(
                f"{verdict} {about}, off by {row.error:+.3%}{spread} ({row.seconds:.0f} s)",
                flush=True,
            )
        if options.out:
            write(options, found)
    print(summary(found))


def summary(found: list[Row]) -> str:
    """The table that the README quotes."""
    lines = [
        "",
        "| section | rows | reached | largest error | 95% intervals that cover | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for section in dict.fromkeys(row.section for row in found):
        mine = [row for row in found if row.section == section]
        plain = [row for row in mine if row.goal > 0]
        random = [row for row in plain if row.standard_error == row.standard_error]
        worst = max((abs(row.error) for row in plain), default=nan)
        cover = (
            f"{sum(row.covered for row in random)} of {len(random)}" if random else "nothing random"
        )
        lines.append(
            f"| {section} (goal {GOALS[section]:.1%}) | {len(mine)} | "
            f"{sum(row.reached for row in mine)} | {worst:.2%} | {cover} | "
            f"{sum(row.seconds for row in mine):.0f} |"
        )
    return "\n".join(lines)


def write(options: argparse.Namespace, found: list[Row]) -> None:
    """Rows of sections that were not run now are kept from the file."""
    kept = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    fresh = [
        {name: None if value != value else value for name, value in asdict(row).items()}
        | {"error": float(row.error), "reached": bool(row.reached)}
        for row in found
    ]
    kept = [row for row in kept if row["section"] not in {row.section for row in found}]
    versions = {
        name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "numpy", "scipy")
    }
    ball = ls.Ball(radius=1.0, center=jnp.zeros(1))
    probe = ls.simulate_escape(
        ls.EulerMaruyama(ls.Langevin(flat(1), diffusion=1.0), dt=0.1),
        ball,
        jnp.zeros(1),
        num=1,
        seed=0,
    )
    record = {
        "seed": options.seed,
        "share": options.share,
        "versions": versions,
        "python": platform.python_version(),
    }
    options.out.write_text(
        json.dumps(record | {"device": probe.info.device, "rows": kept + fresh}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
