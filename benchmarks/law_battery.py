"""Does the escape law say how far it is from the truth at the noise at hand?

Each case has a measured ratio, mean escape time over the law's mean: from `exact_exit` where it has
the case, else from escapes simulated with another seed and step than the check uses (for the
network, the main job's own run). The check that `escape_law` makes by default estimates the same
ratio. Cases, seeds and rules were fixed before the first run:
  * off by more than 15%: warned, and the estimated deviation is within a third of the measured one;
  * off by less than 5%: no warning in 9 of 10 cases;
  * between: no rule.
"Off" is the measured deviation |1 - ratio|; a case whose 95% interval does not lie on one side of
the mark has no rule either. Run: python benchmarks/law_battery.py [--light] [--only NAME] [--out
benchmarks/results/law_battery.json]
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import levysde as ls
from levysde import theory

# of a measurement: seed, least and most escapes, about the most steps
SEED, EXITS, STEPS = 20_261, (1000, 4000), 4e8
BAD, GOOD = 0.15, 0.05
# dynamics, domain, dt of the measurement; None for the exact mean
Case = tuple[Any, Any, float | None]


def _origin(dim: int, radius: float = 1.0) -> ls.Ball:
    return ls.Ball(radius=radius, center=jnp.zeros(dim))


def ou(alpha: float, epsilon: float) -> Case:
    dynamics = ls.SGD(
        ls.Quadratic(hessian=jnp.eye(1)), ls.StableComponents(alpha=alpha), epsilon=epsilon
    )
    return dynamics, _origin(1), None


def ellipse(epsilon: float) -> Case:
    """The README's example."""
    well = ls.Quadratic(hessian=jnp.diag(jnp.array([1.0, 4.0])))
    return ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=epsilon), _origin(2), 2e-3


@cache
def _two_wells() -> Any:
    def loss(x):
        narrow = 1 - jnp.exp(-(12 * (x[0] + 1) ** 2 + 6 * x[1] ** 2) / 2)
        wide = 1 - jnp.exp(-((x[0] - 1.5) ** 2 + x[1] ** 2) / 2)
        return narrow * wide + 0.02 * (x @ x)

    return ls.from_function(loss, dim=2, minimum=jnp.array([1.4422077, 0.0]))


@cache
def _wide_basin() -> Any:
    """The basin of the wide well looked up on a grid, which is what a measurement of many steps can
    afford."""
    inside = jax.jit(jax.vmap(ls.Basin(_two_wells()).contains))
    x, y = np.linspace(-8, 10, 361), np.linspace(-9, 9, 361)
    grid = jnp.asarray(
        inside(jnp.asarray(np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)))
    ).reshape(361, 361)

    def contains(p):
        i, j = (
            jnp.clip(jnp.round((v - low) * 20), 0, 360).astype(jnp.int32)
            for v, low in ((p[0], -8), (p[1], -9))
        )
        return grid[i, j]

    return ls.Predicate(contains, dim=2)


def two_wells(epsilon: float) -> Case:
    """A wide and a narrow well; the basin is that of the flow."""
    landscape = _two_wells()
    return (
        ls.SGD(landscape, ls.StableIsotropic(alpha=1.7), epsilon=epsilon),
        ls.Basin(landscape),
        2e-2,
    )


class MaierStein(ls.protocols.Landscape):
    """Minus the drift (x - x^3 - mu x y^2, -(1 + x^2) y), which is no gradient, in the place of
    one."""

    mu: jax.Array
    dim: int = eqx.field(static=True, default=2)

    @property
    def minimum(self):
        return jnp.array([1.0, 0.0])

    def value(self, x):
        return jnp.sum((x - self.minimum) ** 2)

    def gradient(self, x):
        return -jnp.stack([x[0] - x[0] ** 3 - self.mu * x[0] * x[1] ** 2, -(1 + x[0] ** 2) * x[1]])

    def hessian(self, x):
        return jax.jacfwd(self.gradient)(x)


def maier_stein(epsilon: float) -> Case:
    right = ls.half_space(normal=jnp.array([-1.0, 0.0]), offset=0.0)
    return (
        ls.SGD(MaierStein(jnp.array(10.0)), ls.StableIsotropic(alpha=1.7), epsilon=epsilon),
        right,
        5e-3,
    )


def double_well(alpha: float, epsilon: float) -> Case:
    """In one dimension, the box of the left well."""
    dynamics = ls.SGD(ls.DoubleWell(), ls.StableComponents(alpha=alpha), epsilon=epsilon)
    return dynamics, ls.Box(lower=jnp.array([-4.0]), upper=jnp.array([0.0])), None


def double_well_basin(alpha: float, epsilon: float) -> Case:
    well = ls.DoubleWell(dim=2)
    return (
        ls.SGD(well, ls.StableComponents(alpha=alpha), epsilon=epsilon),
        ls.Basin(well, minima=well.minima),
        5e-3,
    )


def valley(driver: Any, epsilon: float) -> Case:
    """Ten dimensions, curvatures 0.01 to 1."""
    well = ls.Quadratic(hessian=jnp.diag(jnp.geomspace(1e-2, 1, 10)))
    return ls.SGD(well, driver(alpha=1.5), epsilon=epsilon), ls.Sublevel(well, height=0.5), 5e-2


def isotropic_box(alpha: float, epsilon: float) -> Case:
    well = ls.Quadratic(hessian=jnp.diag(jnp.array([1.0, 2.0, 5.0])))
    return (
        ls.SGD(well, ls.StableIsotropic(alpha=alpha), epsilon=epsilon),
        ls.Box(lower=-jnp.ones(3), upper=jnp.ones(3)),
        5e-3,
    )


def optimizer(kind: str, epsilon: float) -> Case:
    well, driver = (
        ls.Quadratic(hessian=jnp.diag(jnp.array([1.0, 4.0]))),
        ls.StableComponents(alpha=1.5),
    )
    dynamics = {
        "momentum": lambda: ls.Momentum(
            well, driver, epsilon=epsilon, forgetting_rate=1.0, averaged=True
        ),
        "adam": lambda: ls.Adam(well, driver, epsilon=epsilon, rates=(5.0, 1.0)),
        "adam, averaged": lambda: ls.Adam(
            well, driver, epsilon=epsilon, rates=(5.0, 1.0), noise_in="average"
        ),
        "rmsprop": lambda: ls.RMSProp(
            well, driver, epsilon=epsilon, forgetting_rate=1.0, gradient_variance=0.25
        ),
    }[kind]()
    return dynamics, _origin(2), 1e-2


def tempered(length: float, epsilon: float) -> Case:
    driver = ls.TemperedComponents(alpha=1.5, length=length, tries=6)
    return ls.SGD(ls.Quadratic(hessian=jnp.eye(1)), driver, epsilon=epsilon), _origin(1), 5e-3


def skewed(epsilon: float) -> Case:
    driver = ls.SkewedComponents(alpha=1.4, skewness=0.6)
    return (
        ls.SGD(ls.Quadratic(hessian=jnp.diag(jnp.array([1.0, 3.0]))), driver, epsilon=epsilon),
        _origin(2),
        2e-3,
    )


def styblinski_tang(epsilon: float) -> Case:
    landscape = ls.StyblinskiTang(2, loss_factor=0.05)
    return (
        ls.SGD(landscape, ls.StableIsotropic(alpha=1.4), epsilon=epsilon),
        ls.Basin(landscape),
        5e-3,
    )


def other_well(epsilon: float) -> Case:
    """The exit set is a small ball about the other minimum: jumps into its basin leave by the
    flow."""
    well = ls.DoubleWell(dim=2)
    return (
        ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=epsilon),
        ls.ExitSets(ls.Ball(radius=0.3, center=jnp.array([1.0, 0.0]))),
        5e-3,
    )


def _levels(
    name: str, build: Callable[..., Case], *settings: tuple
) -> dict[str, Callable[[], Case]]:
    """One case for each setting; what is no number goes by its name."""
    shown = [
        ", ".join(getattr(part, "__name__", f"{part}") for part in setting) for setting in settings
    ]
    return {
        f"{name}, {words}": partial(build, *setting)
        for words, setting in zip(shown, settings, strict=True)
    }


_OPTIMIZERS = ("momentum", "adam", "adam, averaged", "rmsprop")
CASES: dict[str, Callable[[], Case]] = {
    **_levels("ellipse", ellipse, (0.3,), (0.1,)),
    **_levels(
        "OU", ou, *((alpha, epsilon) for alpha in (1.1, 1.5, 1.9) for epsilon in (0.2, 0.05))
    ),
    **_levels("two wells", two_wells, (0.29126,), (0.15,), (0.08,)),
    **_levels("Maier-Stein", maier_stein, (0.2,), (0.05,), (0.02,)),
    **_levels("double well", double_well, (1.5, 0.1), (1.5, 0.02), (1.8, 0.2), (1.8, 0.02)),
    **_levels("basin of the double well", double_well_basin, (1.8, 0.35), (1.5, 0.02)),
    **_levels(
        "valley",
        valley,
        *((driver, e) for driver in (ls.StableComponents, ls.StableIsotropic) for e in (0.1, 0.03)),
    ),
    **_levels("isotropic in a box", isotropic_box, (1.3, 0.2), (1.3, 0.02), (1.8, 0.2)),
    **_levels("optimizer", optimizer, *((kind, e) for kind in _OPTIMIZERS for e in (0.1, 0.03))),
    **_levels("tempered", tempered, (10.0, 0.05), (3.0, 0.1), (1.0, 0.2)),
    **_levels("skewed", skewed, (0.3,), (0.05,)),
    **_levels("Styblinski-Tang", styblinski_tang, (0.3,), (0.05,)),
    **_levels("the other well", other_well, (0.3,), (0.1,)),
}
LIGHT = (
    "ellipse, 0.3",
    "OU, 1.5, 0.2",
    "OU, 1.9, 0.05",
    "double well, 1.8, 0.2",
    "optimizer, momentum, 0.03",
)


def _affordable(domain: Any) -> Any:
    """The same set without a flow to be followed in each step."""
    if not isinstance(domain, ls.Basin):
        return domain
    landscape = domain.landscape
    if isinstance(landscape, ls.DoubleWell):
        return ls.half_space(normal=jnp.eye(landscape.dim)[0], offset=0.0)
    if isinstance(landscape, ls.StyblinskiTang):  # u^4 - 16 u^2 + 5 u has its maximum there
        return ls.Box(
            lower=jnp.full(2, -jnp.inf),
            upper=jnp.full(2, np.sort(np.roots([4.0, 0.0, -32.0, 5.0]).real)[1]),
        )
    return _wide_basin()


def measured(dynamics: Any, domain: Any, dt: float | None, law: Any) -> tuple[float, float, float]:
    """The ratio with its 95% interval."""
    domain = _affordable(domain)
    if dt is None:
        mean = theory.exact_exit(dynamics, domain).mean
        return mean / law.mean, mean / law.mean, mean / law.mean
    steep = isinstance(dynamics, ls.SGD) and not isinstance(dynamics.landscape, ls.Quadratic)
    kernel = (ls.TamedEuler if steep else ls.EulerMaruyama)(dynamics, dt=dt)
    num = int(np.clip(STEPS * dt / law.mean, *EXITS))
    run = ls.simulate_escape(
        kernel, domain, dynamics.attractor, num=num, seed=SEED, max_time=20 * law.mean, throw=False
    )
    ratio = ls.compare(run, law).ratio
    return ratio.value, ratio.low, ratio.high


def verdict(row: dict) -> str:
    value, low, high = row["measured"]
    off = abs(1 - value)
    least, most = (
        (0.0 if low <= 1 <= high else min(abs(1 - low), abs(1 - high))),
        max(abs(1 - low), abs(1 - high)),
    )
    if least > BAD:
        near = row["estimated"][0] is not None and abs(row["estimated"][0] - value) <= off / 3
        return ("passes" if near else "estimate") if row["warned"] else "not warned"
    if most < GOOD or (off < GOOD and least == 0):
        return "false alarm" if row["warned"] else "passes"
    return "no rule"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--light", action="store_true", help="five cheap cases")
    parser.add_argument("--only", help="cases whose name holds this")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = []
    for name, build in CASES.items():
        if (args.light and name not in LIGHT) or (args.only and args.only not in name):
            continue
        dynamics, domain, dt = build()
        step = {"dt": dt} if dynamics.response == "flow" else {}
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ls.AccuracyWarning)
            law = ls.escape_law(dynamics, domain, **step)
            seconds = time.perf_counter() - start
            error = law.error
            row = {
                "case": name,
                "law": law.mean,
                "seconds": seconds,
                "method": error.method,
                "steps": error.steps,
            }
            row["measured"] = measured(dynamics, domain, dt, law)
        estimate = (error.ratio.value, error.ratio.low, error.ratio.high)
        row |= {
            "estimated": [v if np.isfinite(v) else None for v in estimate],
            "warned": bool(error.warning),
        }
        row |= {"regime": law.regime, "verdict": verdict(row)}
        rows.append(row)
        shown = [
            "{:.3f} [{:.3f}, {:.3f}]".format(*row["measured"]),
            f"{error.ratio}",
            error.method,
            f"{seconds:.1f} s",
        ]
        print(
            " | ".join([name, f"{law.mean:.4g}", f"{law.regime:.2g}", *shown, row["verdict"]]),
            flush=True,
        )
    found = {
        v: sum(row["verdict"] == v for row in rows)
        for v in ("passes", "not warned", "estimate", "false alarm", "no rule")
    }
    print(found)
    if args.out:
        about = {
            "seed": SEED,
            "exits": EXITS,
            "device": jax.devices()[0].device_kind,
            "jax": jax.__version__,
        }
        args.out.write_text(
            json.dumps({"about": about, "rows": rows, "verdicts": found}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
