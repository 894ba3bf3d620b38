"""Makes levysde/stats/stable_quantiles.npz: what quantile and tail estimators read on exact stable
laws.

    python benchmarks/stable_quantiles.py [--out levysde/stats/stable_quantiles.npz]

Parametrisation S0 (Nolan), scale 1, location 0: `phi(k) = exp(-k^a (1 + i b tan(pi a/2) (k^(1-a) -
1)))`, k > 0.

* `quantile`, `density`, shape (len(alpha), len(beta), 5): the quantiles at `level`, and the density
  there. By Newton on `F(x) = 1/2 - (1/pi) int Im(phi(k) e^(-ikx)) dk/k` and `f(x) = (1/pi) int
  Re(phi(k) e^(-ikx)) dk`, Gauss-Legendre on panels that resolve both the power at 0 and every turn
  of the phase.
* `log_excess`, shape (len(alpha), len(share)): mean of `log(|X|/u)` among the `share` largest |X|,
  u their threshold, b = 0: the limit of 1/Hill with that share of the sample. `int_u^inf P(|X| > x)
  dx/x / share`, the tail by Nolan's integral (Commun. Stat. Stoch. Models 13, 1997) on panels
  logarithmic in the distance to its pole.

Errors, by halving the panels: below 1e-11 of each number. Checked against scipy.stats.levy_stable
in tests/stats/test_tail_index.py.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import special
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq
from scipy.stats import norm

OUT = Path(__file__).parents[1] / "levysde" / "stats" / "stable_quantiles.npz"
# closer near 2, where the far tail turns from a power into a Gaussian within hundredths of alpha
ALPHA = np.append(
    np.linspace(0.5, 1.9, 29), [1.925, 1.95, 1.97, 1.98, 1.99, 1.995, 1.998, 1.999, 2.0]
)
BETA = np.linspace(0.0, 1.0, 11)
LEVEL = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
SHARE = np.geomspace(1e-4, 0.5, 60)
NODE, WEIGHT = np.polynomial.legendre.leggauss(16)


def panels(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    half = np.diff(edges) / 2
    return (edges[:-1, None] + half[:, None] * (1 + NODE)).ravel(), (half[:, None] * WEIGHT).ravel()


def inversion(alpha: float, beta: float, x: float, fine: float = 1.0) -> tuple[float, float]:
    """F(x) and f(x)."""
    last = 40 ** (1 / alpha)
    turn = (
        fine
        * 8
        / (1 + abs(x) + abs(np.tan(np.pi * alpha / 2) if abs(alpha - 1) > 0.2 else 1) * beta)
    )
    near = np.geomspace(1e-30, min(turn, last), int(60 / fine))
    k, w = panels(
        np.append(near, np.linspace(near[-1], last, 2 + int((last - near[-1]) / turn))[1:])
    )
    log_k = np.log(k)
    if alpha == 1:
        bend = 2 / np.pi * log_k
    else:
        bend = np.tan(np.pi * alpha / 2) * np.expm1((1 - alpha) * log_k) if alpha < 2 else 0 * k
    size = np.exp(-(k**alpha))
    phase = -(k**alpha) * beta * bend - k * x
    return 0.5 - np.sum(w * size * np.sin(phase) / k) / np.pi, np.sum(
        w * size * np.cos(phase)
    ) / np.pi


def quantile(alpha: float, beta: float, level: float, start: float) -> tuple[float, float]:
    x = start
    for _ in range(60):
        p, f = inversion(alpha, beta, x)
        step = (level - p) / f
        x += np.clip(step, -0.5 * (1 + abs(x)), 0.5 * (1 + abs(x)))
        if abs(step) < 1e-10 * (1 + abs(x)):
            return x, inversion(alpha, beta, x)[1]
    raise RuntimeError(f"no quantile at alpha {alpha}, beta {beta}, level {level}")


def quantiles() -> tuple[np.ndarray, np.ndarray]:
    found = np.empty((2, ALPHA.size, BETA.size, LEVEL.size))
    for j, beta in enumerate(BETA):
        start = np.sqrt(2) * norm.ppf(LEVEL)
        for i in reversed(range(ALPHA.size)):
            for n, level in enumerate(LEVEL):
                found[:, i, j, n] = quantile(ALPHA[i], beta, level, start[n])
            start = found[0, i, j]
    found[0, :, 0] = (found[0, :, 0] - found[0, :, 0, ::-1]) / 2  # symmetric
    return found[0], found[1]


def log_v(alpha: float, angle: np.ndarray) -> np.ndarray:
    """log V at `pi/2 - angle`, which keeps the cosine's digits near the pole."""
    a, t = alpha, np.pi / 2 - angle
    cosine = np.log(np.sin(angle))
    return a / (a - 1) * (cosine - np.log(np.sin(a * t))) + np.log(np.cos((a - 1) * t)) - cosine


def tails(alpha: float, log_u: np.ndarray) -> np.ndarray:
    """P(|X| > u), b = 0."""
    if alpha == 1:
        return 2 / np.pi * np.arctan(np.exp(-log_u))
    if alpha == 2:
        return special.erfc(np.exp(log_u) / 2)
    z, w = panels(np.concatenate([np.linspace(-70, -2, 140), np.linspace(-2, 0, 120)[1:]]))
    v = log_v(alpha, np.pi / 2 * np.exp(z))
    power = alpha / (alpha - 1)
    found = np.empty_like(log_u)
    for i, y in enumerate(log_u):
        level = np.exp(np.clip(power * y + v, -700, 700))
        found[i] = np.sum(w * np.exp(z) * (np.exp(-level) if alpha > 1 else -np.expm1(-level)))
    return found


def log_excess(alpha: float) -> np.ndarray:
    top = np.log(16) if alpha == 2 else 30 / alpha
    log_u = np.linspace(-1.5, top, 4000)
    tail = tails(alpha, log_u)
    curve = CubicSpline(log_u, np.log(tail))
    area = CubicSpline(log_u, tail).antiderivative()
    rest = 0.0 if alpha == 2 else tail[-1] / alpha
    at = [
        brentq(lambda y, p=p: curve(y) - np.log(p), log_u[0], log_u[-1], xtol=1e-13) for p in SHARE
    ]
    return (area(top) - area(at) + rest) / SHARE


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT)
    out = parser.parse_args().out
    value, density = quantiles()
    np.savez_compressed(
        out,
        alpha=ALPHA,
        beta=BETA,
        level=LEVEL,
        quantile=value,
        density=density,
        share=SHARE,
        log_excess=np.array([log_excess(a) for a in ALPHA]),
    )
    print(f"{out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
