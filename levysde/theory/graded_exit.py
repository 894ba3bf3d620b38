"""The nonlocal equation on an interval, by piecewise polynomials on a mesh graded towards both
ends. Float64.

On (-1, 1), with L symmetric stable of index a and `A = -(-Laplacian)^(a/2)`, what
`dX = b dt + e dL + sqrt(2D) dW` collects until it leaves solves `b u' + e^a A u + D u'' = -f`
inside, u given outside. In weak form only derivatives of piecewise polynomials are integrated,

    <A u, v> = (C/a) int int k(x - y) u'(y) v'(x) dx dy,    k(r) = (|r|^(1-a) - 1) / (1 - a),
        log|r| at a = 1,

C the constant of the Lévy measure `C |y|^(-1-a) dy`; the -1 changes nothing, since one of u', v'
integrates to 0.

* u behaves like many powers of the distance from an end, over layers as thin as
  `(e^a / b)^(1/(a-1))`: elements shrink by a constant ratio towards each end, down to 1e-10 of
  the start's distance from it, and polynomials see each scale alike.
* Where the drift points inwards u jumps at the end (a < 1), or nearly so. It does so within the
  last elements, and what happens there is not felt further in: a path that starts there is carried
  away from it.
* Where drift prevails, jumps of u' between elements are penalised (Burman and Hansbo, Comput.
  Methods Appl. Mech. Engrg. 193, 2004): the solution has none, but errors do, and would spread
  without decay.

The answers with the last two degrees and without them are compared; while they differ, elements
where those two are largest are halved.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.polynomial import legendre

from levysde.noise import levy_constant

_DEGREE = 10
_POINTS = 18  # of an element, between elements that do not touch
_TOUCHING = 24  # the same along an element, for those that do
_RATIO, _WIDEST = 0.2, 1 / 8  # of the first mesh
_SMALLEST = 1e-10  # of its elements, beside the distance from the start to an end
_AGREE = 1e-8  # relative difference at which the mesh is not refined again
# the mesh is not refined beyond; the second while the error is above
_UNKNOWNS, _LEVELS = (1100, 2000), 8
_TOLERABLE = 1e-4
_MARKED = 0.03  # elements above this share of the largest indicator are halved
_MODES = 450  # unknowns for a survival curve

# from distances to the lower and the upper end
Velocity = Callable[[np.ndarray, np.ndarray], np.ndarray]
System = tuple[np.ndarray, ...]  # operator, mass, integrals of the basis, values at the start


@dataclass(frozen=True)
class _Mesh:
    """Distances `(n + 1,)` of the nodes from the lower and the upper end, exact near either, and
    sizes `(n,)` of elements."""

    low: np.ndarray
    high: np.ndarray
    size: np.ndarray

    def points(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances from the ends of points `x` in (0, 1) of every element, `(n, len(x))`."""
        return self.low[:-1, None] + self.size[:, None] * x, self.high[1:, None] + self.size[
            :, None
        ] * (1 - x)


def solve_interval(
    velocity: Velocity, alpha: float, noise: float, diffusion: float, start: tuple[float, float]
) -> tuple[np.ndarray, float, System]:
    """Mean and second moment of the exit time from an interval of length 2, and the probability of
    the upper end.

    Args:
        velocity: b.
        alpha, noise, diffusion: a, e^a and D; at a = 2 the noise is diffusion.
        start: distances from the lower and the upper end.

    Returns the three, the error (relative for the moments, absolute for the probability), and a
    system of `_MODES` unknowns at most for a survival curve.
    """
    mesh, best = _first_mesh(_SMALLEST * min(start)), None
    for _ in range(_LEVELS):
        n = len(mesh.size)
        parts = _assembled(velocity, alpha, noise, diffusion, mesh, start)
        value, solution = _answers(_of_degree(parts, n, _DEGREE))
        rough, _ = _answers(_of_degree(parts, n, _DEGREE - 2))
        error = float(np.max(np.abs(value - rough) / [*np.abs(value[:2]), 1.0]))
        if best is None or error < best[1]:
            best = value, error, _of_degree(parts, n, min(_DEGREE, _MODES // n))
        if error < _AGREE:
            break
        last = np.abs(solution[-2 * n :]).reshape(2, n, -1) / np.max(np.abs(solution), 0)
        indicator = last.max((0, 2)) * mesh.size
        indicator[[0, -1]] = 0
        mesh = _halved(mesh, indicator > _MARKED * indicator.max())
        if len(mesh.size) * _DEGREE > _UNKNOWNS[best[1] > _TOLERABLE]:
            break
    assert best is not None
    value, error, (operator, mass, one, at_start) = best
    return value, error, (operator[1:, 1:], mass[1:, 1:], one[1:], at_start[1:])


def _answers(system: System) -> tuple[np.ndarray, np.ndarray]:
    """Mean, second moment, probability of the upper end; and the coefficients of the first and the
    last.

    The first function of the basis is 1 beyond the upper end: not an unknown."""

    operator, mass, one, at_start = system
    inner = operator[1:, 1:]
    scale = 1 / np.sqrt(np.abs(np.diag(inner)))[:, None]
    factors = scipy.linalg.lu_factor(inner * scale * scale.T, check_finite=False)

    def solved(right: np.ndarray) -> np.ndarray:
        return scipy.linalg.lu_solve(factors, right * scale, check_finite=False) * scale

    solution = solved(-np.stack([one[1:], operator[1:, 0]], 1))
    second = solved(-2 * mass[1:, 1:] @ solution[:, :1])[:, 0]
    mean, upper = at_start[1:] @ solution
    return np.array([mean, at_start[1:] @ second, upper + at_start[0]]), solution


def _of_degree(parts: System, n: int, degree: int) -> System:
    """The system of the leading `degree` functions of each of the n elements, with its own penalty:
    so the estimate of the error sees what that does. The basis is ordered by degree."""
    operator, mass, penalty, one, at_start = parts
    kept = n * degree
    square = slice(kept), slice(kept)
    return (
        operator[square] - degree**-4.0 * penalty[square],
        mass[square],
        one[:kept],
        at_start[:kept],
    )


def _assembled(
    velocity: Velocity,
    alpha: float,
    noise: float,
    diffusion: float,
    mesh: _Mesh,
    start: tuple[float, float],
) -> System:
    """The equation tested with the basis: `operator[i, j] = <b w_j' + e^a A w_j + D w_j'', w_i>`;
    mass, penalty, integrals and values at the start."""
    n, size = len(mesh.size), mesh.size
    x, weights = _gauss(_POINTS)
    values = _values(x)
    slopes = np.concatenate([[-np.ones_like(x), np.ones_like(x)], _polynomials(_DEGREE, x)[1:]])
    speed = velocity(*(distance.ravel() for distance in mesh.points(x))).reshape(n, -1)
    diffusion = diffusion + (noise if alpha == 2 else 0)
    local = np.einsum("iq,eq,jq->eij", values, weights * speed, slopes, optimize=True)
    local -= diffusion / size[:, None, None] * ((slopes * weights) @ slopes.T)
    index = _index(n)
    pairs = index[:, :, None], index[:, None, :]
    operator, mass = np.zeros((2, n * _DEGREE + 1, n * _DEGREE + 1))
    one, at_start = np.zeros((2, n * _DEGREE + 1))
    np.add.at(operator, pairs, local)
    np.add.at(mass, pairs, size[:, None, None] * ((values * weights) @ values.T))
    np.add.at(one, index, size[:, None] * (values @ weights))
    operator, mass, one = operator[:-1, :-1], mass[:-1, :-1], one[:-1]
    if alpha < 2:
        energy = _in_basis(_in_basis(_energy(mesh, alpha), 0), 1)
        operator += noise * float(levy_constant(alpha)) / alpha * energy
    below, above = start
    e = int(np.clip(np.searchsorted(mesh.low, below) - 1, 0, n - 1))
    inside = (
        (below - mesh.low[e]) / size[e]
        if below < above
        else 1 - (above - mesh.high[e + 1]) / size[e]
    )
    at_start[index[e]] = _values(np.array([inside]))[:, 0]
    return operator, mass, _penalty(velocity, mesh), one, at_start[:-1]


def _penalty(velocity: Velocity, mesh: _Mesh) -> np.ndarray:
    """`sum over nodes of |b| h^2 [u'] [v']`, h the smaller of the two elements."""
    n, e = len(mesh.size), np.arange(len(mesh.size) - 1)
    jumps = np.zeros((n - 1, n, _DEGREE))
    jumps[e, e] = 1 / mesh.size[:-1, None]
    jumps[e, e + 1] = -((-1.0) ** np.arange(_DEGREE)) / mesh.size[1:, None]
    jumps = _in_basis(jumps, 1)
    width = np.minimum(mesh.size[:-1], mesh.size[1:])
    return (jumps.T * (np.abs(velocity(mesh.low[1:-1], mesh.high[1:-1])) * width**2)) @ jumps


def _energy(mesh: _Mesh, alpha: float) -> np.ndarray:
    """Averages of `k(x - y) P_m(x) P_n(y)` over every pair of elements, P shifted Legendre:
    `(n, degree, n, degree)`."""
    c, n, size = 1 - alpha, len(mesh.size), mesh.size
    x, weights = _gauss(_POINTS)
    low, high = (distance.ravel() for distance in mesh.points(x))
    near = low < high
    distance = np.abs(np.where(near[:, None] & near, low[:, None] - low, high - high[:, None]))
    distance[distance == 0] = 1  # within one element, which is done below
    tests = _polynomials(_DEGREE, x) * weights
    blocks = (_kernel(distance, c).reshape(-1, len(x)) @ tests.T).reshape(n, len(x), -1)
    blocks = (tests @ blocks).reshape(n, _DEGREE, n, _DEGREE)
    # one element: its pairs at distance r, then over r
    r, plain, singular = _product_rule(2 * _DEGREE + 2, c)
    y, inner = _gauss(_DEGREE + 1)
    first = np.multiply.outer(1 - r, y)
    at_distance = np.einsum(
        "mab,ab,nab->amn",
        _polynomials(_DEGREE, first + r[:, None]),
        np.multiply.outer(1 - r, inner),
        _polynomials(_DEGREE, first),
        optimize=True,
    )
    at_distance = at_distance + at_distance.transpose(0, 2, 1)
    e = np.arange(n)
    blocks[e, :, e] = np.multiply.outer(size**c, np.tensordot(singular, at_distance, 1))
    blocks[e, :, e] += np.multiply.outer(_kernel(size, c), np.tensordot(plain, at_distance, 1))
    # two that touch: s and t from the common node, in the triangles s = r, t = r eta and s = r eta,
    # t = r
    eta, along = _gauss(_TOUCHING)
    far, near = np.broadcast_to(r[:, None], (len(r), len(eta))), np.multiply.outer(r, eta)
    left, right = size[:-1, None], size[1:, None]
    touching = 0.0
    for s, t, stretch in ((far, near, left + right * eta), (near, far, left * eta + right)):
        ends = _polynomials(_DEGREE, 1 - s), _polynomials(_DEGREE, t)
        power = np.einsum(
            "mab,a,nab->bmn", ends[0], (plain + c * singular) * r, ends[1], optimize=True
        )
        rest = np.einsum("mab,a,nab->bmn", ends[0], singular * r, ends[1], optimize=True)
        touching = (
            touching
            + np.tensordot(along * _kernel(stretch, c), power, 1)
            + np.tensordot(along, rest, 1)
        )
    blocks[e[:-1], :, e[1:]] = touching
    blocks[e[1:], :, e[:-1]] = np.transpose(touching, (0, 2, 1))
    return blocks


def _in_basis(moments: np.ndarray, axis: int) -> np.ndarray:
    """From averages with Legendre polynomials, axes (element, degree), to integrals with
    derivatives of the basis, one axis.

    The basis: the function that rises to 1 in the last element, hats on the inner nodes, and
    integrals of P_1, P_2, ..., degree by degree."""
    moments = np.moveaxis(moments, (axis, axis + 1), (0, 1))
    first = moments[:, 0]
    hats = np.concatenate([first[-1:], first[:-1] - first[1:]])
    rest = np.moveaxis(moments[:, 1:], 1, 0).reshape(-1, *moments.shape[2:])
    return np.moveaxis(np.concatenate([hats, rest]), 0, axis)


def _index(n: int) -> np.ndarray:
    """Which functions of the basis live on each element, in the order of `_values`,
    `(n, degree + 1)`; the hat of the lower end, which is not in the basis, has the number
    `n * degree`."""
    e = np.arange(n)
    index = np.empty((n, _DEGREE + 1), int)
    index[:, 0], index[:, 1] = e, e + 1
    index[0, 0], index[-1, 1] = n * _DEGREE, 0
    index[:, 2:] = n + np.arange(_DEGREE - 1) * n + e[:, None]
    return index


def _values(x: np.ndarray) -> np.ndarray:
    """The functions of an element at points of (0, 1): falling, rising, and the integrals of P_1,
    P_2, ..."""
    p, k = _polynomials(_DEGREE + 1, x), np.arange(1, _DEGREE)[:, None]
    return np.concatenate([[1 - x, x], (p[2:] - p[:-2]) / (4 * k + 2)])


def _first_mesh(smallest: float) -> _Mesh:
    layers = int(np.ceil(np.log(smallest / _WIDEST) / np.log(_RATIO)))
    edge = np.concatenate([[0.0], _WIDEST * _RATIO ** np.arange(layers, -1, -1.0)])
    count = round(2 / _WIDEST) - 2
    middle = np.linspace(_WIDEST, 2 - _WIDEST, count + 1)[1:-1]
    low = np.concatenate([edge, middle, 2 - edge[::-1]])
    high = np.concatenate([2 - edge, middle[::-1], edge[::-1]])
    return _Mesh(
        low, high, np.concatenate([np.diff(edge), np.full(count, _WIDEST), np.diff(edge)[::-1]])
    )


def _halved(mesh: _Mesh, marked: np.ndarray) -> _Mesh:
    """The marked elements halved, and others that would be much larger than a neighbour."""
    while True:
        size = mesh.size / 2.0**marked
        smaller = np.minimum(np.append(size[1:], np.inf), np.insert(size[:-1], 0, np.inf))
        large = ~marked & (size > 1.5 / _RATIO * smaller)
        large[[0, -1]] = False
        if not large.any():
            break
        marked = marked | large
    e = np.flatnonzero(marked)
    low, high = ((nodes[e] + nodes[e + 1]) / 2 for nodes in (mesh.low, mesh.high))
    return _Mesh(
        np.insert(mesh.low, e + 1, low),
        np.insert(mesh.high, e + 1, high),
        np.insert(size, e + 1, size[e]),
    )


def _kernel(r: np.ndarray, c: float) -> np.ndarray:
    """`(r^c - 1) / c`, or log r."""
    log = np.log(r)
    return log if c == 0 else np.expm1(c * log) / c


def _product_rule(points: int, c: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of (0, 1), and weights that integrate a polynomial there and a polynomial times `(r^c
    - 1) / c`, c > -1."""
    x, weights = _gauss(points)
    moments = np.empty(points)  # of (r^c - 1) / c with P_k
    moments[0], moments[1] = -1 / (1 + c), 1 / ((1 + c) * (2 + c))
    for k in range(2, points):
        moments[k] = moments[k - 1] * (c - k + 1) / (c + k + 1)
    return x, weights, weights * (((2 * np.arange(points) + 1) * moments) @ _polynomials(points, x))


def _gauss(points: int) -> tuple[np.ndarray, np.ndarray]:
    x, weights = legendre.leggauss(points)
    return (x + 1) / 2, weights / 2


def _polynomials(count: int, x: np.ndarray) -> np.ndarray:
    """Legendre polynomials shifted to (0, 1), `(count, *x.shape)`."""
    return np.moveaxis(legendre.legvander(2 * x - 1, count - 1), -1, 0)
