"""Transitions between wells as a Markov chain on the minima, for noise so small that a path rests
in each. Float64, host.

`q_ij` is the rate of going from well i to well j. With jumps, in one dimension, wells
`(s_{j-1}, s_j)` around minima m_j and `nu((u, inf)) = (C_a / a) u^-a` for SaS(1), a jump of
`epsilon S dL` lands in another well at the rate

    q_ij = (epsilon S)^a (C_a / a) | |s_{j-1} - m_i|^-a - |s_j - m_i|^-a |,    s at the far ends
        infinite

(Imkeller and Pavlyukevich, Stochastic Process. Appl. 116, 2006): any well is in reach, and only
places count, not heights. With Gaussian noise a path climbs over a saddle b of index one into the
well next to it, at the rate of Eyring and Kramers

    q_ij = (|l| / 2 pi) sqrt(det H_i / |det H_b|) exp(-(F(b) - F(i)) / D)

summed over the saddles between the two (see `levysde.theory.kramers`, also for friction): detailed
balance holds, with weights `det H_i^-1/2 exp(-F_i / D)`.
"""

from collections.abc import Callable

import numpy as np
import scipy

from levysde import errors
from levysde.landscapes import in_float64
from levysde.noise import levy_constant
from levysde.protocols import Landscape
from levysde.theory.kramers import StationaryPoint, derivatives, distinct_points, log_rate_over
from levysde.theory.metastable_chain import MetastableChain
from levysde.types import Arg, Number, Numbers

_LEAVE = 1e-3  # how far from a saddle its descent starts, in distances to the nearest minimum
_ARRIVED = 1e-6  # size of Newton's step to the minimum, in distances from the saddle
_SAME = 1e-4  # two places this near, in distances from the saddle, are one minimum
_FAR = 1e4  # distances from the saddle to the nearest minimum, beyond which there is none
_STRETCHES = 40  # of a descent, each twice as long as the one before


def stable_chain(
    minima: Arg[Numbers],
    saddles: Arg[Numbers],
    *,
    alpha: Arg[Number],
    epsilon: Arg[Number],
    scale: Arg[Number] = 1.0,
) -> MetastableChain:
    """The chain of `dX = -F'(X) dt + epsilon S dL` in one dimension, L symmetric stable, as epsilon
    falls.

    A jump from the minimum m_i lands in well j, between the saddles `s_{j-1}` and `s_j`, at the
    rate `(epsilon S)^a (C_a / a) | |s_{j-1} - m_i|^-a - |s_j - m_i|^-a |`: the same for every loss
    with wells in these places.

    Args:
        minima: where the minima are, ascending, `(n,)` or `(n, 1)`.
        saddles: the maxima between them, `(n - 1,)` or `(n - 1, 1)`.
        alpha: stability index, in (0, 2).
        epsilon: noise amplitude, positive.
        scale: S, positive; 1 by default.

    Returns:
        The chain on the n wells, in SDE time.

    Raises:
        ValueError, TypeError: numbers out of range, fewer than two wells, places that do not ascend
            in turns, or alpha = 2: Brownian motion has no jumps.

    Source:
        Imkeller and Pavlyukevich, Stochastic Process. Appl. 116 (2006).
    """
    wells, tops = _on_a_line("minima", minima), _on_a_line("saddles", saddles)
    a = errors.real_index(alpha)
    if a == 2:
        raise ValueError(
            "alpha = 2 is Gaussian and has no jumps: the chain is that of "
            "gaussian_chain(landscape, ...)."
        )
    size = errors.positive_real("epsilon", epsilon) * errors.positive_real("scale", scale)
    if len(wells) < 2 or len(tops) != len(wells) - 1:
        raise ValueError(
            f"{len(wells)} minima and {len(tops)} saddles are no row of wells: give two minima or "
            "more, and one saddle between each two. For example stable_chain([-1.0, 1.0], "
            "[0.0], alpha=1.5, epsilon=0.1)."
        )
    row = np.stack([wells, np.append(tops, np.inf)], 1).ravel()
    if not (np.diff(row) > 0).all():
        raise ValueError(
            f"minima and saddles must ascend in turns, minimum, saddle, minimum, but are {wells} "
            f"and {tops}. Sort them."
        )
    ends = np.concatenate([[-np.inf], tops, [np.inf]])
    tails = np.abs(ends[None] - wells[:, None]) ** -a  # of well i and end s_j
    shares = np.abs(np.diff(tails, axis=1))
    np.fill_diagonal(shares, 0)
    with np.errstate(divide="ignore"):
        logs = a * np.log(size) + np.log(float(levy_constant(a)) / a) + np.log(shares)
    return MetastableChain(
        logs,
        wells[:, None],
        f"jumps of alpha = {a:g}",
        (
            "one dimension, symmetric stable noise, epsilon small: one jump decides, from the "
            "minimum into the other well",
            "the places of minima and saddles count, the heights of the barriers do not",
            "the flow takes a path to the next minimum long before the next large jump",
        ),
    )


def _on_a_line(name: str, value: Arg[Numbers]) -> np.ndarray:
    places = errors.reals(name, value, f"{name}=[-1.0, 1.0]")
    if places.ndim == 2 and places.shape[1] == 1:
        places = places[:, 0]
    if places.ndim != 1:
        raise ValueError(
            f"{name} must have shape (n,) or (n, 1): the law is known on a line, not "
            f"{places.shape}."
        )
    return places


def gaussian_chain(
    landscape: Arg[Landscape],
    *,
    minima: Arg[Numbers],
    saddles: Arg[Numbers],
    diffusion: Arg[Number],
    friction: Arg[Number | None] = None,
    connects: Arg[Numbers | None] = None,
) -> MetastableChain:
    """The chain of `dX = -grad F dt + sqrt(2 D) dW`, or of the same with friction, as D falls below
    every barrier.

    Args:
        landscape: the loss F.
        minima: near which points to look for the minima, `(n, d)`.
        saddles: near which points to look for the saddles between them, `(k, d)`.
        diffusion: D, a positive number, in units of the loss.
        friction: g of the underdamped equation, positive; by default none, as in `kramers_law`.
        connects: for each saddle the numbers `(i, j)` of the two minima it joins; by default found
            by descending from the saddle to both sides.

    Returns:
        The chain on the n wells, in SDE time.

    Raises:
        TypeError: no landscape; arguments of another kind.
        ValueError: bad numbers or shapes; fewer than two minima; a point that is no minimum, a
            saddle that is not of index one; two that lead to one; a saddle that leads to no
            minimum, to one not in the list or to the same from both sides.

    Source:
        as `kramers_law`: Eyring (1935), Kramers (1940); for several wells Bovier, Eckhoff,
        Gayrard, Klein, J. Eur. Math. Soc. 6 (2004).
    """
    errors.instance("landscape", landscape, Landscape, "DoubleWell(dim=2)")
    errors.concrete("minima or saddles", (minima, saddles))
    noise = errors.positive_real("diffusion", diffusion)
    drag = None if friction is None else errors.positive_real("friction", friction)
    lows, tops = _points(landscape, "minima", minima, 0), _points(landscape, "saddles", saddles, 1)
    if len(lows) < 2:
        raise ValueError("a chain needs two minima or more. For example minima=landscape.minima.")
    pairs = _descents(landscape, tops, lows) if connects is None else _given(connects, tops, lows)
    logs = np.full((len(lows), len(lows)), -np.inf)
    for top, (i, j) in zip(tops, pairs, strict=True):
        for a, b in ((i, j), (j, i)):
            logs[a, b] = np.logaddexp(logs[a, b], log_rate_over(top, lows[a], noise, drag))
    return MetastableChain(
        logs,
        np.stack([low.point for low in lows]),
        f"saddles at D = {noise:g}" + ("" if drag is None else f", friction {drag:g}"),
        (
            "Eyring-Kramers: D far below every barrier, one number in all directions",
            "every saddle between the minima is in the list",
            *(() if drag is None else ("friction not weak",)),
        ),
    )


def _points(
    landscape: Landscape, name: str, places: Arg[Numbers], index: int
) -> tuple[StationaryPoint, ...]:
    guesses = errors.reals(name, places, f"{name}=landscape.{name}")
    if guesses.ndim != 2 or guesses.shape[1] != landscape.dim:
        raise ValueError(
            f"{name} must have shape (n, {landscape.dim}), not {guesses.shape}. Type "
            f"{name}=landscape.{name}."
        )
    why = ("a minimum has none", "a saddle of a chain has one")[index]
    return distinct_points(landscape, name, guesses, index, why)


def _given(
    connects: Arg[Numbers], tops: tuple[StationaryPoint, ...], lows: tuple[StationaryPoint, ...]
) -> list[tuple[int, int]]:
    pairs = np.asarray(errors.unmasked("connects", connects))
    if pairs.shape != (len(tops), 2) or pairs.dtype.kind not in "iu":
        raise ValueError(
            f"connects must hold two numbers of minima for each of the {len(tops)} saddles, not "
            f"{connects!r}. For example connects=[(0, 1)]."
        )
    for (i, j), top in zip(pairs, tops, strict=True):
        if i == j or not 0 <= min(i, j) <= max(i, j) < len(lows):
            raise ValueError(
                f"connects has ({i}, {j}); a saddle joins two different minima, numbered from 0 to "
                f"{len(lows) - 1}."
            )
        if not top.loss > max(lows[i].loss, lows[j].loss):
            raise ValueError(
                f"the saddle at {top.point} lies no higher than the minima {i} and {j}, so it "
                "cannot join them."
            )
    return [(int(i), int(j)) for i, j in pairs]


def _descents(
    landscape: Landscape, tops: tuple[StationaryPoint, ...], lows: tuple[StationaryPoint, ...]
) -> list[tuple[int, int]]:
    """For each saddle the numbers of the minima on its two sides."""
    places = np.stack([low.point for low in lows])
    with in_float64(landscape) as precise:
        gradient, hessian = derivatives(precise)
        pairs = []
        for top in tops:
            away = (
                _LEAVE
                * np.linalg.norm(places - top.point, axis=1).min()
                * np.linalg.eigh(hessian(top.point))[1][:, 0]
            )
            i, j = (
                _number(_descend(gradient, hessian, top, side * away), top, places)
                for side in (-1, 1)
            )
            if i == j:
                raise ValueError(
                    f"the saddle at {top.point} leads to the minimum at {places[i]} from both "
                    "sides: no way from one well to another. Leave it out."
                )
            pairs.append((i, j))
    return pairs


def _number(end: np.ndarray, top: StationaryPoint, places: np.ndarray) -> int:
    gaps = np.linalg.norm(places - end, axis=1)
    if gaps.min() > _SAME * np.linalg.norm(end - top.point):
        raise ValueError(
            f"the saddle at {top.point} leads to the minimum at {end}, which is not in the list of "
            f"{len(places)}. Add it to minima, or leave the saddle out."
        )
    return int(np.argmin(gaps))


def _descend(
    gradient: Callable, hessian: Callable, top: StationaryPoint, away: np.ndarray
) -> np.ndarray:
    """The minimum that the flow `x' = -grad F` reaches from beside a saddle."""

    x, span = top.point + away, 10 / -top.eigenvalues[0]
    reach = _FAR * float(np.linalg.norm(away)) / _LEAVE

    def gone(_: float, x: np.ndarray) -> float:
        return reach - float(np.linalg.norm(x - top.point))

    gone.terminal = True
    for _ in range(_STRETCHES):
        flow = scipy.integrate.solve_ivp(
            lambda _, x: -gradient(x),
            (0, span),
            x,
            method="LSODA",
            rtol=1e-6,
            atol=1e-6 * float(np.linalg.norm(away)),
            jac=lambda _, x: -hessian(x),
            events=gone,
        )
        x, span = flow.y[:, -1], 2 * span
        if flow.status != 0 or not np.isfinite(x).all():
            break
        matrix = hessian(x)
        if np.linalg.eigvalsh(matrix)[0] > 0:
            step = np.linalg.solve(matrix, gradient(x))
            if np.linalg.norm(step) <= _ARRIVED * np.linalg.norm(x - top.point):
                return x - step
    raise ValueError(
        f"the flow from the saddle at {top.point} reaches no minimum: it was followed to {x}. Does "
        "the loss fall without end there? Leave the saddle out, or give connects=[(i, j), ...]."
    )
