"""Escape under minibatch noise: the laws of Xie, Sato and Sugiyama, and their conventions.

SGD at learning rate eta and batch B, in the time `t = eta * iterations`:
`dX = -L'(X) dt + sqrt(2 D) dW`, `D = eta C_B / 2`, and near a stationary point the covariance of
the noise is about the curvature's size, `C_B ~ |H| / B`. A path of escape climbs a barrier dL, a
fraction s of it at the noise of the minimum, `D_a = eta H_a / 2B`, and the rest at that of the
saddle, `D_b = eta |H_b| / 2B`, H_a and H_b the curvatures along the path (ICLR 2021, Theorem
3.2, as restated by Ibayashi and Imaizumi, Table 1):

    tau = (2 pi / |H_b|) exp[(2 B dL / eta) (s / H_a + (1 - s) / |H_b|)].

In one dimension this is the equation whose D jumps from D_a to D_b on the way, and its mean is
known (first_passage.py): with `psi = int L'/D`, the well gives
`int e^-psi / D = sqrt(2 pi / (D_a H_a))`, and the saddle
`int e^psi = e^psi(b) sqrt(2 pi D_b / |H_b|)`, so that

    tau = 2 pi sqrt(D_b / D_a) / sqrt(H_a |H_b|) exp[dL (s / D_a + (1 - s) / D_b)] = (2 pi / H_a)
        exp[...],

to the other minimum, half of it to the saddle, in Ito's convention, which is SGD's: the noise is
that of the point before the step. In the isothermal convention (the noise of the point after the
step) `sqrt(D_b / D_a)` is turned over, and the prefactor is the restated one, `2 pi / |H_b|`. The
exponent is the same in both. In more dimensions it stays right where what lies across is
independent of the path; elsewhere the prefactor has another factor of order 1, which no frozen
temperatures can give.

For other optimisers the exponent is known (Xie et al., ICML 2022). A bowl without a saddle, whose
edge at `r / sqrt(k)` comes nearer as its curvature k grows, has `-log rate = B r^2 / (eta k)` too,
so that a straight line of -log rate against 1/k, B or 1/eta does not show that there is a saddle.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from levysde import errors
from levysde.results import Result
from levysde.tables import Table, from_log, listed
from levysde.theory.law import Exponential
from levysde.types import Arg, Number

_ESCAPES = ("other minimum", "saddle")
_OPTIMIZERS = ("sgd", "heavy ball", "averaged momentum", "adam")


@dataclass(frozen=True, repr=False)
class MinibatchLaw(Result, Exponential):
    """Exponential escape of SGD, as `xie_law` and `combined_law` give it.

    Attributes:
        log_mean: logarithm of the mean escape time, in SDE time.
        exponent: argument of the exponential; that of the likeliest path if there are several.
        shares: of the escapes along each path, summing to 1.
        learning_rate: eta: a unit of SDE time is `1 / eta` iterations.
        escape: what is meant: "other minimum", or "saddle", twice as fast.
        normalization: of the prefactor: "corrected" or "printed".
        name: of the law.
        assumptions: when it holds.
        unit: of `mean` and `rate`.
    """

    log_mean: float
    exponent: float
    shares: tuple[float, ...]
    learning_rate: float
    escape: str
    normalization: str
    name: str
    assumptions: tuple[str, ...]
    unit: str = "SDE time"

    @property
    def mean(self) -> float:
        """Mean escape time in SDE time; inf where float64 ends."""
        return _exp(self.log_mean)

    @property
    def log_rate(self) -> float:
        """Logarithm of `rate`."""
        return -self.log_mean

    @property
    def log_iterations(self) -> float:
        """Logarithm of `iterations`."""
        return self.log_mean - math.log(self.learning_rate)

    @property
    def iterations(self) -> float:
        """Mean escape time in iterations; inf where float64 ends."""
        return _exp(self.log_iterations)

    @property
    def rate(self) -> float:
        """Of escape, a unit of SDE time; 0 where float64 ends."""
        return _exp(-self.log_mean)

    def _table(self) -> Table:
        rows = [
            ("from", f"{self.name}, prefactor {self.normalization}"),
            (f"mean escape time ({self.unit})", from_log(self.log_mean)),
            ("in iterations", from_log(self.log_iterations)),
            ("rate", from_log(-self.log_mean)),
            ("to", self.escape),
            ("exponent", f"{self.exponent:.4g}"),
            ("learning rate", f"{self.learning_rate:g}"),
        ]
        if len(self.shares) > 1:
            rows.append(("share of each path", listed(self.shares, ".3g")))
        return Table("MinibatchLaw", [*rows, ("assumes", "\n".join(self.assumptions))])


def _exp(log: float) -> float:
    return math.exp(log) if log < 709 else math.inf


def xie_law(
    *,
    barrier: Arg[Number],
    minimum_curvature: Arg[Number],
    saddle_curvature: Arg[Number],
    learning_rate: Arg[Number],
    batch_size: Arg[Number],
    path_fraction: Arg[Number] = 0.5,
    prefactor: Arg[Literal["corrected", "printed"]] = "corrected",
    escape: Arg[Literal["other minimum", "saddle"]] = "other minimum",
) -> MinibatchLaw:
    """Escape of SGD under minibatch noise along one path:
    `(2 pi / H_a) exp[(2 B dL / eta) (s / H_a + (1 - s) / |H_b|)]`.

    The exponent is that of Theorem 3.2 of Xie, Sato and Sugiyama; its prefactor depends on the
    convention (see `prefactor`). Several paths: `combined_law`.

    Args:
        barrier: dL, the height of the saddle over the minimum, positive.
        minimum_curvature: H_a, of the minimum along the path, positive.
        saddle_curvature: of the saddle along the path: H_b or `|H_b|`, the sign does not matter.
        learning_rate: eta, positive.
        batch_size: B, positive.
        path_fraction: s, the fraction of the barrier that is climbed at the minimum's noise, in (0,
            1); 1/2 by default.
        prefactor: "corrected", `2 pi / H_a`, exact in one dimension in Ito's convention, which is
            SGD's; or "printed", `2 pi / |H_b|`, as the theorem is restated by others, exact in the
            isothermal convention.
        escape: "other minimum", or "saddle": reached in half the time.

    Returns:
        The law; times are SDE time, `eta` of it an iteration.

    Raises:
        ValueError, TypeError: a number out of range, or traced by JAX; another word.

    Source:
        Xie, Sato, Sugiyama, ICLR 2021, Theorem 3.2; the prefactor: this package, from the exact
        mean in one dimension.
    """
    scale, low, top, eta = _climb(
        barrier, minimum_curvature, saddle_curvature, learning_rate, batch_size
    )
    s = errors.fraction("path_fraction", path_fraction)
    kind = errors.choice("prefactor", prefactor, ("corrected", "printed"))
    factor = {"other minimum": 1.0, "saddle": 0.5}[errors.choice("escape", escape, _ESCAPES)]
    exponent = scale * (s / low + (1 - s) / top)
    log_mean = math.log(2 * math.pi * factor / (low if kind == "corrected" else top)) + exponent
    return MinibatchLaw(
        log_mean,
        exponent,
        (1.0,),
        eta,
        escape,
        kind,
        "Xie, Sato, Sugiyama 2021, Theorem 3.2",
        (
            "noise covariance |H| / B, frozen at the minimum's value below the switch and the "
            "saddle's above it",
            "exponent large; one dimension, or independent of what lies across"
            if kind == "corrected"
            else "exponent large; isothermal convention (prefactor as restated by others)",
        ),
    )


def combined_law(laws: Arg["Sequence[MinibatchLaw]"]) -> MinibatchLaw:
    """Several paths out of one minimum: their rates add.

    Args:
        laws: a list of `MinibatchLaw`, one for each path, of one learning rate, escape and
            normalization.

    Returns:
        The law of all of them, with the share of each path.

    Raises:
        ValueError, TypeError: no laws, or laws of different learning rate, escape or normalization.

    Source:
        elementary; stated by Xie, Sato, Sugiyama, ICLR 2021.
    """
    if (
        not isinstance(laws, Sequence)
        or not laws
        or not all(isinstance(law, MinibatchLaw) for law in laws)
    ):
        raise TypeError(
            f"laws must be a list of MinibatchLaw, not {errors.shown(laws)}. For example "
            "[xie_law(...), xie_law(...)]."
        )
    for name in ("learning_rate", "escape", "normalization"):
        found = sorted({str(getattr(law, name)) for law in laws})
        if len(found) > 1:
            raise ValueError(
                f"laws must agree in {name}, but have {' and '.join(found)}. Make them alike."
            )
    logs = np.array([-law.log_mean for law in laws])
    total = float(np.logaddexp.reduce(logs))
    shares = np.exp(logs - total)
    names = "; ".join(dict.fromkeys(law.name for law in laws))
    return MinibatchLaw(
        -total,
        laws[int(np.argmax(shares))].exponent,
        tuple(float(share) for share in shares),
        laws[0].learning_rate,
        laws[0].escape,
        laws[0].normalization,
        f"{len(laws)} paths: {names}",
        tuple(dict.fromkeys(note for law in laws for note in law.assumptions)),
    )


def optimizer_exponent(
    *,
    optimizer: Arg[Literal["sgd", "heavy ball", "averaged momentum", "adam"]],
    barrier: Arg[Number],
    minimum_curvature: Arg[Number],
    saddle_curvature: Arg[Number],
    learning_rate: Arg[Number],
    batch_size: Arg[Number],
    path_fraction: Arg[Number] = 0.5,
    momentum: Arg[Number] = 0.9,
) -> float:
    """The exponent of the mean escape time of an optimiser: the logarithm of the mean, to leading
    order.

    With `E = (2 B dL / eta) (s / H_a + (1 - s) / |H_b|)`: "sgd" E; "heavy ball", raw gradients as
    in `optax.sgd`, (1 - momentum) E, since their sum is a step 1 / (1 - momentum) as long;
    "averaged momentum" E; "adam", its v settled at the noise's variance `|H| / B` and delta far
    below its root, `(2 sqrt(B) dL / eta) (s / sqrt(H_a) + (1 - s) / sqrt(|H_b|))`.

    Args:
        optimizer: "sgd", "heavy ball", "averaged momentum" or "adam".
        barrier: dL, the height of the saddle over the minimum, positive.
        minimum_curvature: H_a, of the minimum along the path, positive.
        saddle_curvature: of the saddle along the path: H_b or `|H_b|`, the sign does not matter.
        learning_rate: eta, positive.
        batch_size: B, positive.
        path_fraction: s, the fraction of the barrier that is climbed at the minimum's noise, in (0,
            1); 1/2 by default.
        momentum: beta, in (0, 1), used for "heavy ball" only; 0.9 by default.

    Returns:
        The exponent, positive.

    Raises:
        ValueError, TypeError: a number out of range, or traced by JAX; an unknown optimizer.

    Source:
        Xie et al., ICML 2022.
    """
    kind = errors.choice("optimizer", optimizer, _OPTIMIZERS)
    scale, low, top, _ = _climb(
        barrier, minimum_curvature, saddle_curvature, learning_rate, batch_size
    )
    s = errors.fraction("path_fraction", path_fraction)
    beta = errors.fraction("momentum", momentum)
    if kind == "adam":
        return (
            scale / math.sqrt(float(batch_size)) * (s / math.sqrt(low) + (1 - s) / math.sqrt(top))
        )
    return scale * (s / low + (1 - s) / top) * (1 - beta if kind == "heavy ball" else 1)


def _climb(
    barrier: Arg[Number],
    minimum_curvature: Arg[Number],
    saddle_curvature: Arg[Number],
    learning_rate: Arg[Number],
    batch_size: Arg[Number],
) -> tuple[float, float, float, float]:
    """`2 B dL / eta`, H_a, |H_b| and eta."""
    height, low, eta, batch = (
        errors.positive_real(name, value, f"{name}=1.0")
        for name, value in (
            ("barrier", barrier),
            ("minimum_curvature", minimum_curvature),
            ("learning_rate", learning_rate),
            ("batch_size", batch_size),
        )
    )
    top = abs(errors.real("saddle_curvature", saddle_curvature))
    if top == 0:
        raise ValueError(
            "saddle_curvature must not be 0: the path would have no top. For example "
            "saddle_curvature=-1.0."
        )
    return 2 * batch * height / eta, low, top, eta
