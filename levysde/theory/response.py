"""How far a jump of the noise carries an optimiser whose noise enters an average.

Notation: beta the decay factor of the average, `decay = eta h` the share of its distance from the
minimum that a gradient step removes (h the curvature, eta the learning rate), `c = 1 - decay`. A
noise jump xi in one gradient starts the average at `(1 - beta) xi`; without memory it would move
the position by `eta xi` at once. With `u_k` the position k + 1 steps after, in units of that, the
escape set is reached when `max_k u_k`, or `min_k u_k` on the other side, reaches the boundary.

    only the noise averaged     u_k = (1 - beta) (c^(k+1) - beta^(k+1)) / (c - beta),    x <- c x -
                                eta n,
    gradient averaged too       u_k = (1 - beta) (p^(k+1) - q^(k+1)) / (p - q),          x <- x -
                                eta m,

p, q the roots of `z^2 - (1 + beta - (1 - beta) decay) z + beta`. The second is the algorithm (ADAM
with v at rest, averaged heavy ball; raw heavy ball with `decay = eta h / (1 - beta)`); complex
roots overshoot to the other side. Both tend to 1 where the average is short:
`1/(1 - beta) << 1/decay`."""

from typing import Literal, NamedTuple

import numpy as np

from levysde import errors
from levysde.tables import Table, Tabled
from levysde.types import Arg, Number

_LONGEST = 10**6  # steps looked at


class JumpResponse(NamedTuple):
    """The farthest that a jump carries the position, in units of the jump without memory.

    Attributes:
        forward: the jump's own way, positive.
        backward: the other way, not negative.
    """

    forward: float
    backward: float

    def _table(self) -> Table:
        return Table(
            "JumpResponse, in jumps without memory",
            [("forward", f"{self.forward:.6g}"), ("backward", f"{self.backward:.6g}")],
        )

    __repr__, _repr_html_ = Tabled.__repr__, Tabled._repr_html_  # a named tuple has no other base


def jump_response(
    momentum: Arg[Number], decay: Arg[Number], *, gradient: Arg[Literal["averaged", "raw"]]
) -> JumpResponse:
    """By how much, P, the jump of an averaged noise is to be multiplied before it is compared with
    the boundary.

    Multiply an escape rate without memory by `P^alpha`: `forward` for the boundary on the jump's
    side, `backward` for the one on the other side, whichever needs the smaller jump. Exact for a
    quadratic loss seen at steps of the algorithm.

    Args:
        momentum: mu, decay factor of the average, in (0, 1).
        decay: `eta h`, learning rate times curvature, positive; the flow must be stable.
        gradient: "averaged" when the gradient goes through the average with its noise, as in the
            algorithms; "raw" when only the noise does.

    Returns:
        Both factors.

    Raises:
        ValueError, TypeError: a number out of range, a decay for which the noiseless steps grow
            (raw: 2 and more; averaged: `2 (1 + mu) / (1 - mu)` and more), another name.

    Source:
        this package: the noiseless steps after a jump, solved (the roots of their recursion).
    """
    beta = errors.fraction("momentum", momentum)
    decay = errors.positive_real("decay", decay)
    errors.choice("gradient", gradient, ("averaged", "raw"))
    limit = 2.0 if gradient == "raw" else 2 * (1 + beta) / (1 - beta)
    if decay >= limit:
        raise ValueError(
            f"decay = {decay!r} makes the noiseless steps grow; it must be below "
            f"{limit:.4g}. Give less."
        )
    p, q = (
        (1 - decay, beta)
        if gradient == "raw"
        else np.roots([1.0, (1 - beta) * decay - 1 - beta, beta])
    )
    n = _extremes(complex(p), complex(q))
    path = (1 - beta) * _difference_quotient(complex(p), complex(q), n)
    return JumpResponse(float(path.max()), float(max(0.0, -path.min())))


def _extremes(p: complex, q: complex) -> np.ndarray:
    """Whole n >= 1 that hold the extremes of `(p^n - q^n) / (p - q)`: all those next to where its
    derivative vanishes."""
    # r^n sin(n angle): a full turn, and all n before r^n is lost, since whole n may miss the first
    # peaks
    if p.imag:
        fall = -np.log(abs(p))
        last = 2 * np.pi / abs(np.angle(p)) + 3 / fall
        return np.arange(1, min(last, _LONGEST) + 2)
    fast, slow = sorted([-np.log(max(abs(p), 1e-300)), -np.log(max(abs(q), 1e-300))], reverse=True)
    ratio = fast / slow - 1
    at = np.log1p(ratio) / (ratio * slow) if ratio > 1e-9 else 1 / slow
    return np.unique(
        np.maximum(np.concatenate([np.floor(at) + np.arange(-2, 4), np.arange(1, 5)]), 1)
    )


def _difference_quotient(p: complex, q: complex, n: np.ndarray) -> np.ndarray:
    if abs(p - q) < 1e-8:
        return (n * ((p + q) / 2) ** (n - 1)).real
    return ((p**n - q**n) / (p - q)).real
