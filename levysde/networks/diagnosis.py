"""What `diagnose` returns: one labelled object that prints as a table."""

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np

from levysde.escape import EscapeResult
from levysde.landscapes import NetworkLandscape
from levysde.networks.basin_measure import BasinMeasure
from levysde.networks.curvature import Spectrum
from levysde.networks.gradient_covariance import Alignment, GradientCovariance
from levysde.networks.noise_tails import NoiseTails
from levysde.results import Result
from levysde.stats import Estimate
from levysde.tables import Heading, Table


@dataclass(frozen=True, repr=False)
class PredictedEscape(Result):
    """The escape law of one optimiser at the given learning rate.

    Attributes:
        mean: mean escape time in iterations; its interval is that of m(W).
        rate: escapes per unit of SDE time, where one iteration takes `learning_rate`.
        regime: rate over relaxation; the law is valid if it is far below 1.
        epsilon: noise amplitude, `learning_rate^((a-1)/a)`.
    """

    mean: Estimate
    rate: float
    regime: float
    epsilon: float

    def _table(self) -> Table:
        return Table(
            "PredictedEscape",
            [
                ("mean escape time (iterations)", f"{self.mean}"),
                ("rate (SDE time)", f"{self.rate:.4g}"),
                ("rate over relaxation", f"{self.regime:.2g} (the law needs it far below 1)"),
                ("epsilon", f"{self.epsilon:.4g}"),
            ],
        )


@dataclass(frozen=True, repr=False)
class SimulatedEscape(Result):
    """Escapes of the real optimiser, on minibatches of the data.

    Attributes:
        mean: time at risk over exits in iterations, with its interval; infinite without an exit.
        exits, num, longest: number of trajectories that left, number of all, and the iterations
            after which a trajectory is censored.
        result: the `EscapeResult`, one row per trajectory.
    """

    mean: Estimate
    exits: int
    num: int
    longest: int
    result: EscapeResult = field(repr=False)

    def _table(self) -> Table:
        return Table(
            "SimulatedEscape",
            [
                ("mean escape time (iterations)", f"{self.mean}"),
                ("exits", f"{self.exits} of {self.num} left within {self.longest:,} iterations"),
            ],
        )


@dataclass(frozen=True, repr=False, eq=False)
class Diagnosis(Result):
    """Noise, curvature, basin and escape times of a network at one point. Prints as a table;
    `plots.diagnosis` draws it.

    Attributes:
        landscape: the network, with the point marked as its minimum.
            `Sublevel(report.landscape, height=report.height)` is the basin,
            `SGD(report.landscape, ...)` its SDE.
        layers: name and size of each leaf of the parameter tree, in the order of the flat vector.
        loss, loss_spread: loss at the point (with weight decay), standard deviation of the
            examples' losses.
        gradient_norm: Euclidean norm at the point, in loss units over parameter units.
        descent: a lower bound of how much the loss would still fall: to the minimum of the
            quadratic approximation, or within 30 steps of L-BFGS, whichever is more.
        hessian: a `Spectrum` of its eigenvalues.
        covariance: of the examples' gradients, C1.
        alignment: how C1 and the Hessian are aligned.
        tails: tail indices and scale of the minibatch noise.
        kink: whether the loss has a kink at the point (ReLU), so that no Hessian describes it.
        excess: mean rise of the loss that the optimiser's noise causes without a basin. For SGD in
            the quadratic approximation: `eta/2 sum_j c_j / (2 - eta lambda_j)`,
            `c_j = u_j' C_B u_j`, with the curvature of the sharpest directions; infinite if
            `eta lambda` exceeds 2. For ADAM: `eta/4 sum_i v_i / (sqrt(v_i) + delta)`,
            `v = diag C_B`, to first order. For other optimisers it is measured in a short run. NaN
            without a learning rate or a run.
        alpha, measured: the index that m(W) and the predictions use, and whether it was measured.
        stable_noise: "components" or "isotropic".
        height: height of the basin over the loss at the point.
        measures: m(W) of "sgd" and "adam"; empty if there is no basin to measure.
        predictions: the escape law of each; empty without a learning rate, or for an optimiser
            without a known law.
        simulated: escapes of the real optimiser, None if they were left out.
        left_out: why they were left out, else "".
        optimizer, learning_rate, batch_size, delta: as given.
        warnings: caveats of the table.
        seconds: wall-clock seconds of each part.
        memory_bytes: planned memory beyond Python, JAX, data and parameters.
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
    kink: bool
    excess: float
    alpha: float
    measured: bool
    stable_noise: str
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
        """Number of parameters."""
        return self.landscape.dim

    def tree(self, vector: Any) -> Any:
        """A vector of one number per parameter, for example `report.covariance.variance`, in the
        shape of the parameters."""
        return self.landscape.unflatten(jnp.asarray(vector))

    def _table(self) -> Table:
        parts = [
            ("model", self._model()),
            ("gradient noise", self._noise()),
            ("Hessian", self._curvature()),
            ("tail index of the noise", self.tails._rows()),
            ("basin", self._basin()),
            ("escape", self._escape()),
        ]
        lines = [line for name, rows in parts for line in (Heading(name), *rows)]
        title = f"Diagnosis of {self.dim:,} parameters on {self.landscape.num_examples:,} examples"
        return Table(title, lines, self.warnings)

    def _model(self) -> list[tuple[str, str]]:
        return [
            ("loss at the point", f"{self.loss:.5g} (examples spread by {self.loss_spread:.3g})"),
            (
                "gradient norm there",
                f"{self.gradient_norm:.3g}, the loss would fall by {self.descent:.2g} more",
            ),
        ]

    def _noise(self) -> list[tuple[str, str]]:
        batches = self.covariance.trace * self.covariance.batch_factor(self.batch_size)
        rows = [
            *self.covariance._rows(),
            (f"trace of C_B (batches of {self.batch_size})", f"{batches:.4g}"),
            *self.alignment._rows(),
        ]
        if not np.isnan(self.excess):
            how = "measured" if self.optimizer == "optax" else self.optimizer.upper()
            share = f"{self.excess:.3g}, {self.excess / self.height:.3g} of the basin's height"
            rows.append((f"excess loss from the noise ({how})", share))
        return rows

    def _curvature(self) -> list[tuple[str, str]]:
        rows = self.hessian._rows()
        if self.learning_rate is not None:
            product = self.learning_rate * self.hessian.largest[0]
            rows.append(
                ("learning rate x largest", f"{product:.3g} (plain SGD is unstable above 2)")
            )
        return rows

    def _basin(self) -> list[tuple[str, str]]:
        how = "measured" if self.measured else "given"
        rows = [
            ("height over the loss", f"{self.height:.4g}; basin_height=... changes it"),
            ("alpha", f"{self.alpha:.4g}, {how}; {self.stable_noise} noise"),
        ]
        for name, measure in self.measures.items():
            rows += measure._rows(f" of {name.upper()}")
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
            name = self.optimizer if self.optimizer == "optax" else self.optimizer.upper()
            rows.append((f"simulated mean, {name}", text))
        return rows
