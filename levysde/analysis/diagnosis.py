"""What `diagnose` returns: one labelled object that prints as a table."""

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np

from levysde.analysis.basin_measure import BasinMeasure
from levysde.analysis.curvature import Spectrum
from levysde.analysis.gradient_covariance import Alignment, GradientCovariance
from levysde.analysis.noise_tails import NoiseTails
from levysde.escape import EscapeResult
from levysde.landscapes import NetworkLandscape
from levysde.stats import Estimate

_LAYERS = 12  # rows of the table for layers


@dataclass(frozen=True)
class PredictedEscape:
    """The escape law of one optimiser at the learning rate given.

    Attributes:
        mean: mean escape time in iterations, its interval that of m(W).
        rate: escapes a unit of SDE time; one iteration is `learning_rate` of it.
        regime: rate over relaxation; the law needs it far below 1.
        epsilon: noise amplitude, `learning_rate^((a-1)/a)`.
    """

    mean: Estimate
    rate: float
    regime: float
    epsilon: float


@dataclass(frozen=True)
class SimulatedEscape:
    """Escapes of the real optimiser, on minibatches of the data.

    Attributes:
        mean: time at risk over exits in iterations, with its interval; infinite without an exit.
        exits, num, longest: trajectories that left, all of them, and the iterations after which one is censored.
        result: the rows, one a trajectory.
    """

    mean: Estimate
    exits: int
    num: int
    longest: int
    result: EscapeResult = field(repr=False)


@dataclass(frozen=True, repr=False, eq=False)
class Diagnosis:
    """The landscape of a network about one point, and what its noise makes of it. Prints as a table; `plots.diagnosis` draws.

    Attributes:
        landscape: the network, the point marked as its minimum: `Sublevel(report.landscape, height=report.height)` is the
            basin, `SGD(report.landscape, ...)` its equation.
        layers: name and size of each leaf of the parameter tree, in the order of the flat vector.
        loss, loss_spread: loss at the point (with weight decay), standard deviation of the examples' losses.
        gradient_norm: at the point; `descent` is by how much the loss would still fall at least: to the minimum of the
            quadratic about it, or within 30 steps of L-BFGS, whichever is more.
        hessian: a `Spectrum`. covariance: of the examples' gradients. alignment: of the two.
        tails: tail indices and scale of the minibatch noise.
        excess: by how much the noise alone lifts the loss of SGD in the quadratic about the point: `eta/2 sum_j c_j / (2 -
            eta lambda_j)`, `c_j = u_j' C_B u_j`, with the curvature of the sharpest directions; `eta tr(C_B) / 4` to first
            order. Infinite where eta lambda passes 2, NaN without a learning rate.
        alpha, measured: the index that m(W) and the predictions use, and whether it was measured.
        noise: "components" or "isotropic".
        height: of the basin over the loss at the point.
        measures: m(W) of "sgd" and "adam"; empty where there is no basin to measure.
        predictions: the escape law of each; empty without a learning rate.
        simulated: escapes of the real optimiser, None where they were left out, and `left_out` says why.
        optimizer, learning_rate, batch_size, delta: as given.
        warnings: what stands against reading the table as it is.
        seconds: of each part. memory_bytes: what was planned for, beyond Python, JAX, data and parameters.
    """

    landscape: NetworkLandscape
    layers: tuple[tuple[str, int], ...]
    loss: float
    loss_spread: float
    gradient_norm: float
    descent: float
    hessian: Spectrum
    covariance: GradientCovariance
    alignment: Alignment
    tails: NoiseTails
    excess: float
    alpha: float
    measured: bool
    noise: str
    height: float
    measures: dict[str, BasinMeasure]
    predictions: dict[str, PredictedEscape]
    simulated: SimulatedEscape | None
    left_out: str
    optimizer: str
    learning_rate: float | None
    batch_size: int
    delta: float
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    memory_bytes: int

    @property
    def dim(self) -> int:
        return self.landscape.dim

    def tree(self, vector: Any) -> Any:
        """A vector of one number a parameter, for example `report.covariance.variance`, in the shape of the parameters."""
        return self.landscape.unflatten(jnp.asarray(vector))

    def __repr__(self) -> str:
        parts = [
            ("model", self._model()),
            ("gradient noise", self._noise()),
            ("Hessian", self._curvature()),
            ("tail index of the noise", self._tails()),
            ("basin", self._basin()),
            ("escape", self._escape()),
        ]
        width = max(len(name) for _, rows in parts for name, _ in rows)
        lines = [f"Diagnosis of {self.dim:,} parameters on {self.landscape.num_examples:,} examples"]
        for title, rows in parts:
            lines += [f" {title}", *(f"  {name:<{width}}  {value}" for name, value in rows)]
        lines += [f"  warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)

    def _model(self) -> list[tuple[str, str]]:
        return [
            ("loss at the point", f"{self.loss:.5g} (examples spread by {self.loss_spread:.3g})"),
            ("gradient norm there", f"{self.gradient_norm:.3g}, the loss would fall by {self.descent:.2g} more"),
        ]

    def _noise(self) -> list[tuple[str, str]]:
        c, a = self.covariance, self.alignment
        rows = [
            (
                "trace of C1 (one example)",
                f"{c.trace:.4g}, of C_B (batches of {self.batch_size}) {self._batch_trace:.4g}",
            ),
            (
                "largest eigenvalues of C1",
                f"{_few(c.eigenvalues)} ({c.trace_share:.0%} of the trace in {c.eigenvalues.size})",
            ),
            ("effective rank of C1", f"{c.effective_rank:.3g}"),
            ("coordinates without noise", f"{int(np.sum(c.variance == 0)):,}"),
            ("cosine of C1 and Hessian", f"{a.cosine}, 1 when proportional"),
            ("C1 over Hessian, nearest factor", f"{a.factor}"),
            (f"overlap of their {_span(a, c)} largest directions", f"{a.overlap:.3g} (random: {a.chance:.2g})"),
        ]
        if self.learning_rate is not None:
            share = self.excess / self.height
            rows.append(("loss held up by the noise (SGD)", f"{self.excess:.3g}, {share:.3g} of the basin's height"))
        return rows

    @property
    def _batch_trace(self) -> float:
        return self.covariance.trace * self.covariance.batch_factor(self.batch_size)

    def _curvature(self) -> list[tuple[str, str]]:
        h = self.hessian
        smallest = f"{h.smallest:.4g}" if h.exact else f"{h.smallest:.4g} or less"
        rows = [
            ("largest eigenvalues", _few(h.largest)),
            ("smallest eigenvalue", smallest),
            ("share of negative eigenvalues", f"{h.negative_share:.2%}"),
            ("trace", f"{h.trace}"),
        ]
        if self.learning_rate is not None:
            product = self.learning_rate * h.largest[0]
            rows.append(("learning rate x largest", f"{product:.3g} (plain SGD is unstable above 2)"))
        return rows

    def _tails(self) -> list[tuple[str, str]]:
        t = self.tails
        rows = [
            ("coordinates, characteristic function", f"median {t.characteristic_function.median}"),
            ("coordinates, block log-moment", f"median {t.block_log_moment.median}"),
            ("norm, block sums", f"{t.norm}"),
            ("norm, Hill", f"{t.norm_hill} (norms of many coordinates concentrate)"),
        ]
        shown = t.layers if len(t.layers) <= _LAYERS else t.layers[: _LAYERS - 1]
        rows += [(f"layer {row.name}", f"{row.index}, norm {row.norm.value:.3g}, {row.size:,} params") for row in shown]
        if len(shown) < len(t.layers):
            rows.append((f"{len(t.layers) - len(shown)} more layers", "in .tails.layers"))
        return rows

    def _basin(self) -> list[tuple[str, str]]:
        how = "measured" if self.measured else "given"
        rows = [
            ("height over the loss", f"{self.height:.4g}; basin_height=... changes it"),
            ("alpha", f"{self.alpha:.4g}, {how}; {self.noise} noise"),
        ]
        for name, m in self.measures.items():
            of = "" if np.isinf(m.of) else f" of {m.of:,}"
            gain = "exact" if np.isinf(m.reduction) else f"variance {m.reduction:.3g} times below plain sampling"
            rows.append((f"m(W) of {name.upper()}", f"{m.value}, {m.rays:,}{of} rays, {gain}"))
            rows.append(
                (f"  by the Hessian alone ({name.upper()})", f"{m.quadratic:.4g}, {m.returning:.1%} of rays return")
            )
        return rows

    def _escape(self) -> list[tuple[str, str]]:
        rows = []
        for name, p in self.predictions.items():
            text = f"{p.mean} iterations, rate over relaxation {p.regime:.2g}"
            rows.append((f"predicted mean, {name.upper()}", text))
        s = self.simulated
        if s is None:
            rows.append(("simulated", f"left out: {self.left_out}"))
        else:
            text = f"{s.mean} iterations, {s.exits} of {s.num} left within {s.longest:,}"
            rows.append((f"simulated mean, {self.optimizer}", text))
        return rows


def _few(values: np.ndarray, count: int = 4) -> str:
    return ", ".join(f"{v:.3g}" for v in values[:count]) + (", ..." if len(values) > count else "")


def _span(a: Alignment, c: GradientCovariance) -> int:
    return min(len(a.curvature), len(c.eigenvalues))
