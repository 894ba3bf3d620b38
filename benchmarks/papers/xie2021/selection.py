"""Where SGD stays: a sharp and a flat valley of equal depth, and the share of time spent in each.

One dimension, `sharp_flat` times 1/50: curvatures H_s and H_f = 0.04 at the minima, 0.04 at the
saddle, both barriers 0.02. Noise of two kinds: that of SGD frozen at two temperatures on each side
(s = 1/2), D = (eta / 2B) times the curvature of the valley or of the saddle; and white noise.
Replicas start in halves in either valley, their first fifth is thrown away, and the share of time
right of the saddle is measured. The exact shares come from the stationary density, `exp(-int L'/D)
/ D` (Ito), by quadrature. Those of the chain that Euler steps make, from its transition matrix on a
grid, stand beside them: steps across the switch of the noise shift the log ratio by a multiple of
sqrt(dt), so that SGD's noise is stepped by eta / 8. Base: H_s = 0.32, eta = 0.25. With SGD's noise
the masses of the valleys are, to leading order,

    m_f / m_s = (H_s / H_f) exp[(2B / eta) s dL (1 / H_f - 1 / H_s)],    with white noise
        sqrt(H_s / H_f).
"""

from collections.abc import Sequence
from math import log
from typing import Annotated, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from levysde.dynamics import SGD, Langevin
from levysde.escape import simulate_paths
from levysde.kernels import EulerMaruyama
from levysde.landscapes import WellChain, sharp_flat
from levysde.noise import Brownian
from levysde.stats import Estimate
from levysde.studies import Claim, Finding, Section, detection_chance, judged, reference, ruled
from levysde.sweeps import Experiment, Job, Model, Sweep, Variable

from ..figures import look, new_figure, points, shared_legend
from ..numbers import around, scaled
from .ladders import Z, combined
from .noise import frozen_noise, switches

HEIGHT, SHARP, FLAT, TOP = 0.02, 16.0, 2.0, 2.0  # curvatures before the height
WIDTHS = (0.8, 2.0)  # at the base sharpness
RATE, FRACTION = 0.25, 0.5
BATCHES = (0.75, 1.0, 1.25, 1.5)  # B: 2B/eta = 6 to 12
SHARPNESSES = (3.0, 4.0, 6.0, 9.0, 16.0)  # H_s before the height, at B = 1
DIFFUSIONS = (0.0035, 0.004, 0.005, 0.0067)  # barriers of 5.7 to 3 D
_LOOKS = 1000

EXPONENTIAL = Claim(
    "select-sgd",
    "SGD favours the flat valley exponentially: log of the occupation ratio grows as 1/η and B",
    "abstract",
    "slope of log(m_flat/m_sharp) in 2B/η: sΔL(1/H_f − 1/H_s), measured over the exact slope 1, in "
    "the band [0.8, 1.2]",
    "the interval of that ratio outside [0.8, 1.2]",
    "read",
    "with Hessian-dependent noise SGD favours flat minima exponentially more than sharp minima, "
    "with white noise only polynomially",
)
SHARPER = Claim(
    "select-sharpness",
    "Under SGD's noise the log ratio is linear in 1/H of the sharp valley, with the slope −2BsΔL/η",
    "follows from Theorem 3.2, as in Ibayashi and Imaizumi (ICLR 2023 submission), Table 1",
    "slope of log(m_flat H_f/(m_sharp H_s)) in 1/H_s over the exact slope: 1, in the band [0.7, "
    "1.3]",
    "the interval of that ratio outside [0.7, 1.3]",
    "restated",
)
FLATLINE = Claim(
    "select-white",
    "Under white noise the ratio does not depend on D: no exponential preference among valleys of "
    "equal depth",
    "abstract",
    "slope of log(m_flat/m_sharp) in ΔL/D: 0, in the band [−0.1, 0.1]",
    "the interval of that slope outside [−0.1, 0.1]",
    "read",
    EXPONENTIAL.printed,
)
POLYNOMIAL = Claim(
    "select-polynomial",
    "Under white noise the preference is polynomial in the sharpness: sqrt(H_s/H_f)",
    "abstract; the power is that of Eyring and Kramers",
    "power of m_flat/m_sharp in H_s: 0.5, in the band [0.35, 0.65]",
    "the interval of that power outside [0.35, 0.65]",
    "read",
    EXPONENTIAL.printed,
)
CLAIMS = (EXPONENTIAL, SHARPER, FLATLINE, POLYNOMIAL)


_slopes = eqx.filter_jit(lambda well, x: jax.vmap(lambda u: well.gradient(u[None])[0])(x))


class Settings(Model):
    """Replicas in the two valleys; `strength` is B for noise "sgd", D for "white"."""

    noise: Literal["sgd", "white"]
    strength: Annotated[float, Field(gt=0)]
    sharpness: Annotated[float, Field(gt=0)] = SHARP
    dt: Annotated[float, Field(gt=0)] = RATE  # of the integration
    num: Annotated[int, Field(ge=2)] = 100
    steps: Annotated[int, Field(ge=_LOOKS)] = 1_000_000


class Occupation(Experiment):
    """The share of time that replicas spend in the flat valley."""

    name = "xie2021-occupation"
    settings = Settings

    def check(self, settings: Settings) -> None:
        valley(settings.sharpness)
        if settings.num % 2:
            raise ValueError(f"run.num: must be even, half in each valley, not {settings.num}.")

    def variables(self, points: Sequence[Settings]) -> tuple[Variable, ...]:
        most = max(point.num for point in points)
        return (
            Variable(
                "flat_share",
                "float64",
                "share of looks in the flat valley",
                "1",
                ("replica",),
                (most,),
            ),
            Variable("crossings", "float64", "changes of side seen, all replicas"),
            Variable("exact_share", "float64", "the same in the long run, by quadrature"),
            Variable("stepped_share", "float64", "the same of the chain of Euler steps"),
        )

    def run(self, settings: Settings, job: Job) -> dict[str, Any]:
        well = valley(settings.sharpness)
        if settings.noise == "sgd":
            scale = frozen_noise(well, settings.strength, FRACTION)
            dynamics: Any = SGD(well, Brownian(), learning_rate=RATE, scale=scale)
        else:
            dynamics = Langevin(well, diffusion=settings.strength)
        starts = jnp.asarray(np.repeat(np.asarray(well.minima), settings.num // 2, axis=0))
        kernel = EulerMaruyama(dynamics, dt=settings.dt)
        every = settings.steps // _LOOKS
        paths = simulate_paths(
            kernel, starts, seed=job.seed, num=settings.num, every=every, max_steps=every * _LOOKS
        )
        flat = paths.positions[:, _LOOKS // 5 :, 0] > 0
        return {
            "flat_share": flat.mean(1),
            "crossings": float(np.sum(flat[:, 1:] != flat[:, :-1])),
            "exact_share": exact_share(settings),
            "stepped_share": stepped_share(settings),
        }


def valley(sharpness: float) -> WellChain:
    """The two valleys; a sharper one is also narrower, by the root, so that its shape stays."""
    return sharp_flat(
        sharp_curvature=HEIGHT * sharpness,
        flat_curvature=HEIGHT * FLAT,
        barriers=(HEIGHT, HEIGHT),
        distances=(WIDTHS[0] * (SHARP / sharpness) ** 0.5, WIDTHS[1]),
        saddle_curvature=HEIGHT * TOP,
    )


def profile(settings: Settings, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The slope of the loss and D at `x`."""
    slope = np.asarray(_slopes(valley(settings.sharpness), jnp.asarray(x)), float)
    if settings.noise == "white":
        return slope, np.full(len(x), settings.strength)
    places, curvatures = switches(valley(settings.sharpness), FRACTION)
    level = np.where(
        x < places[0], curvatures[0], np.where(x < places[1], curvatures[1], curvatures[2])
    )
    return slope, RATE / (2 * settings.strength) * level


def exact_share(settings: Settings, points: int = 400_001) -> float:
    """The flat valley's share of the stationary density, `exp(-int L'/D) / D`."""
    x = np.linspace(-3.0, 9.0, points)
    slope, diffusion = profile(settings, x)
    force = slope / diffusion
    psi = np.concatenate([[0.0], np.cumsum((force[1:] + force[:-1]) * (x[1] - x[0]) / 2)])
    density = np.exp(-(psi - psi.min())) / diffusion
    return float(density[x > 0].sum() / density.sum())


def stepped_share(settings: Settings, points: int = 1600) -> float:
    """The same of the chain `x <- x - dt L' + sqrt(2 D dt) xi`, from its transition probabilities
    between cells of a grid."""
    from scipy.special import ndtr  # slow to import

    x = np.linspace(-3.0, 5.5, points)
    slope, diffusion = profile(settings, x)
    edges = np.concatenate([[-np.inf], (x[1:] + x[:-1]) / 2, [np.inf]])
    mean, spread = x - settings.dt * slope, np.sqrt(2 * settings.dt * diffusion)
    balance = np.diff(ndtr((edges[None, :] - mean[:, None]) / spread[:, None]), axis=1).T - np.eye(
        points
    )
    balance[-1] = 1
    stationary = np.linalg.solve(balance, np.append(np.zeros(points - 1), 1.0))
    return float(stationary[x > 0].sum())


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    num, few = (32, 200_000) if quick else (128, 3_000_000)
    fine, many = (RATE / 2, 400_000) if quick else (RATE / 8, 8_000_000)
    kinds = {
        "sgd": ("sgd", 1.0, {"strength": list(BATCHES)}),
        "sgd-sharpness": ("sgd", 1.0, {"sharpness": list(SHARPNESSES)}),
        "white": ("white", 0.004, {"strength": list(DIFFUSIONS)}),
        "white-sharpness": ("white", 0.004, {"sharpness": list(SHARPNESSES)}),
    }
    found = {}
    for i, (name, (noise, strength, axis)) in enumerate(kinds.items()):
        dt, steps = (fine, many) if noise == "sgd" else (RATE, few)
        run = {"noise": noise, "strength": strength, "num": num, "steps": steps, "dt": dt}
        found[name] = {
            "experiment": reference(Occupation),
            "seed": 800 + i,
            "run": run,
            "grid": axis,
        }
    return found


def shares(sweep: Sweep) -> dict[str, np.ndarray]:
    """By rising x: log ratio of the shares, its standard error (from the replicas' spread), the
    exact log ratio."""
    table = []
    for point in sweep.plan.points:
        columns = sweep.columns(point)
        share = np.asarray(columns["flat_share"])
        mean, error = float(share.mean()), float(share.std(ddof=1) / len(share) ** 0.5)
        exact, stepped = float(columns["exact_share"]), float(columns["stepped_share"])
        (x,) = sweep.values(point).values()
        table.append(
            (
                float(x),
                log(mean / (1 - mean)),
                error / (mean * (1 - mean)),
                log(exact / (1 - exact)),
                log(stepped / (1 - stepped)),
                float(columns["crossings"]),
            )
        )
    names = ("x", "ratio", "error", "exact", "stepped", "crossings")
    return dict(zip(names, np.array(sorted(table)).T, strict=True))


def _fit(
    x: np.ndarray,
    found: dict[str, np.ndarray],
    what: str = "ratio",
    extra: float | np.ndarray = 0.0,
) -> Estimate:
    design = np.stack([np.ones_like(x), x], 1)
    return combined(design, found[what] + extra, found["error"] ** -2, (0, 1))


def judge(found: dict[str, Sweep], quick: bool) -> Finding:
    seen = {name: shares(sweep) for name, sweep in found.items()}
    x = {
        "sgd": 2 * seen["sgd"]["x"] / RATE,
        "sgd-sharpness": 1 / (HEIGHT * seen["sgd-sharpness"]["x"]),
        "white": HEIGHT / seen["white"]["x"],
        "white-sharpness": np.log(seen["white-sharpness"]["x"]),
    }
    sharper = -np.log(seen["sgd-sharpness"]["x"] / FLAT)
    slopes = {
        name: _fit(x[name], seen[name], extra=sharper if name == "sgd-sharpness" else 0.0)
        for name in seen
    }
    exact, stepped = (
        {
            name: _fit(x[name], seen[name], what, sharper if name == "sgd-sharpness" else 0.0).value
            for name in seen
        }
        for what in ("exact", "stepped")
    )
    law = FRACTION * HEIGHT * (1 / (HEIGHT * FLAT) - 1 / (HEIGHT * SHARP))
    specs = (
        (EXPONENTIAL, "sgd", 0.8, 1.2, True, 0.2, f"; law {law:.3f} a unit of 2B/η"),
        (
            SHARPER,
            "sgd-sharpness",
            0.7,
            1.3,
            True,
            0.3,
            f"; law {-2 / RATE * FRACTION * HEIGHT:.3f}",
        ),
        (FLATLINE, "white", -0.1, 0.1, False, 0.1, ""),
        (POLYNOMIAL, "white-sharpness", 0.35, 0.65, False, 0.15, ""),
    )
    verdicts = []
    for claim, name, low, high, relative, margin, more in specs:
        value = scaled(slopes[name], 1 / exact[name]) if relative else slopes[name]
        over = f"; over the exact slope {value}" if relative else ""
        crossings = seen[name]["crossings"].min()
        verdicts.append(
            ruled(
                claim,
                judged(value, low, high),
                f"slope {slopes[name]}, exact {exact[name]:.4g}, of the chain of steps "
                f"{stepped[name]:.4g}{more}{over}; at least {crossings:.0f} changes "
                f"of valley per setting",
                f"chance to see a value {margin:g} outside the band: "
                f"{detection_chance(margin, value):.2f}",
            )
        )
    data = {
        name: [
            dict(zip(columns, (float(v) for v in row), strict=True))
            for row in zip(*columns.values(), strict=True)
        ]
        for name, columns in seen.items()
    }
    return Finding(tuple(verdicts), {"occupation": _figure(seen, x)}, data)


def _figure(seen: dict[str, dict[str, np.ndarray]], x: dict[str, np.ndarray]) -> Any:
    figure, axes = new_figure(1, 3, width=3.3, height=3.0, legend=0.5)
    curvature = {name: HEIGHT * seen[name]["x"] for name in ("sgd-sharpness", "white-sharpness")}
    panels = (
        ("2B/η", {"sgd": x["sgd"]}),
        ("ΔL/D", {"white": x["white"]}),
        (
            "curvature of the sharp minimum",
            {
                "sgd-sharpness": curvature["sgd-sharpness"],
                "white-sharpness": curvature["white-sharpness"],
            },
        ),
    )
    for ax, (label, series) in zip(axes, panels, strict=True):
        for name, places in series.items():
            k = int(name.startswith("white"))
            kind = ("SGD's noise, frozen", "white noise")[k]
            color, found = (
                look(k)["color"],
                map(around, seen[name]["ratio"], Z * seen[name]["error"]),
            )
            points(ax, places, found, ls="", ms=4.5, label=kind, **look(k))
            ax.plot(places, seen[name]["exact"], color=color, lw=1, label=f"{kind}, exact")
            if not k:
                ax.plot(
                    places,
                    seen[name]["stepped"],
                    color=color,
                    lw=1,
                    ls=":",
                    label="the same, with these steps",
                )
        ax.set_xlabel(label)
    axes[2].set_xscale("log")
    low = min(ax.get_ylim()[0] for ax in axes)
    high = max(ax.get_ylim()[1] for ax in axes)
    for ax in axes:
        ax.set_ylim(min(low, 0), high)
        ax.axhline(0, color="0.7", lw=0.8)
    axes[0].set_ylabel("log(time in flat / time in sharp)")
    shared_legend(figure, axes)
    return figure


SECTION = Section("selection", CLAIMS, sweeps, judge)
