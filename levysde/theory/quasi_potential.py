"""What a path has to climb where the noise is not the same in all directions: the quasi-potential
of a linear flow. Float64.

`dX = -J (X - c) dt + sqrt(2 T) S dW`, `D = S S'`, every eigenvalue of J with a positive real part.
The stationary law is normal with covariance T C, and

    J C + C J' = 2 D,    V(x) = (x - c)' C^-1 (x - c) / 2,

V being the least action `int |S^-1 (X' + J (X - c))|^2 / 4 dt` of a path that comes from c to x. As
T falls, the density goes as exp(-V(x) / T), the mean exit time from a neighbourhood of c as exp(min
V / T), the minimum taken over its boundary, and the exit happens near the place of that minimum,
along the path `X(-s) = c + C exp(-J' s) C^-1 (x - c)` (Freidlin and Wentzell, Random Perturbations
of Dynamical Systems, chapter 4). D may be degenerate, as with friction, where noise enters the
velocity only, if the flow carries the noise into every direction.

Where J is a Hessian and D the identity, V is the loss. Where D is not, it is not: V is then what
decides. In the toolkit's terms `SGD(landscape, Brownian(), epsilon=e, scale=S)` is J = H, D = S S'
/ 2 and T = e^2.
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import scipy

from levysde import errors
from levysde.domains import Ball, Box, Ellipsoid, HalfSpaces, Intersection
from levysde.protocols import Domain
from levysde.results import Result
from levysde.tables import Table, listed
from levysde.theory.stationary import covariance
from levysde.types import Arg, Numbers

# of the correlations' largest eigenvalue: a direction with less is not reached by the noise
_RANK = 1e-12


@dataclass(frozen=True, repr=False)
class QuasiPotential(Result):
    """The quasi-potential of a linear flow, as `quasi_potential` gives it.

    Attributes:
        drift_matrix: J, `(d, d)`.
        diffusion: D, `(d, d)`.
        center: c, `(d,)`.
        covariance: C, `(d, d)`: of the stationary law at T = 1.
    """

    drift_matrix: np.ndarray
    diffusion: np.ndarray
    center: np.ndarray
    covariance: np.ndarray

    def value(self, x: Arg[Numbers]) -> np.ndarray | float:
        """`V(x)` at `x`, `(..., d)`: the least action of a path from the center to x."""
        offset = errors.reals("x", x, f"x=jnp.zeros({len(self.center)})")
        if offset.shape[-1:] != self.center.shape:
            raise ValueError(
                f"x must have shape (..., {len(self.center)}), not {offset.shape}. Type x=center."
            )
        offset = offset - self.center
        costs = np.sum(offset * np.linalg.solve(self.covariance, offset[..., None])[..., 0], -1) / 2
        return float(costs) if costs.ndim == 0 else costs

    def exit_cost(self, domain: Arg[Domain]) -> float:
        """The least V on the boundary of `domain`: `log` of the mean exit time is this over T, to
        leading order. inf where there is no boundary. Domain and errors as `exit_place`."""
        return self._exit(domain)[0]

    def exit_place(self, domain: Arg[Domain]) -> np.ndarray:
        """Where V is least on the boundary of `domain`, `(d,)`: exits happen near there; one such
        place where there are more.

        Args:
            domain: a Ball, Box, Ellipsoid, HalfSpaces or Intersection of these, around `center`.

        Raises:
            TypeError: another kind of domain.
            ValueError: wrong dimension; `center` not inside; no boundary at a finite place.
        """
        cost, place = self._exit(domain)
        if not math.isfinite(cost):
            raise ValueError(
                f"{domain!r} has no boundary at a finite place, so nothing leaves it. Give a bound."
            )
        return place

    def path(self, x: Arg[Numbers], times: Arg[Numbers]) -> np.ndarray:
        """The most probable path that ends in `x`, `(d,)`, at `times` before its end, `(n,)`, not
        negative; `(n, d)`."""

        dim = len(self.center)
        end = errors.reals("x", x, f"x=jnp.zeros({dim})", (dim,)) - self.center
        back = errors.reals("times", times, "times=jnp.linspace(0, 10, 101)")
        if back.ndim != 1 or (back < 0).any():
            raise ValueError(
                "times must be a vector without negative entries, the time left to the end, not "
                f"{times!r}. For example times=jnp.linspace(0, 10, 101)."
            )
        force = np.linalg.solve(self.covariance, end)
        return (
            self.center
            + scipy.linalg.expm(-self.drift_matrix.T * back[:, None, None])
            @ force
            @ self.covariance
        )

    def _exit(self, domain: Arg[Domain]) -> tuple[float, np.ndarray]:
        # the cheapest boundary is in reach: before another one, V would be smaller still
        if isinstance(domain, Intersection):
            return min((self._exit(part) for part in domain.domains), key=lambda found: found[0])
        if not isinstance(domain, Ball | Box | Ellipsoid | HalfSpaces):
            raise TypeError(
                "domain must be a Ball, Box, Ellipsoid, HalfSpaces or an Intersection of these, "
                f"not {errors.shown(domain)}. Take the least value(x) over points of its boundary."
            )
        if domain.dim != len(self.center):
            raise ValueError(
                f"domain has {domain.dim} dimensions, but the flow has {len(self.center)}. Give "
                "one alike."
            )
        if not bool(domain.contains(jnp.asarray(self.center))):
            raise ValueError(
                f"center = {self.center} is not inside {domain!r}. Give a domain "
                "around it, or center=..."
            )
        return _cheapest(self, domain)

    def _table(self) -> Table:
        return Table(
            "QuasiPotential",
            [
                ("dimensions", f"{len(self.center)}"),
                ("center", listed(self.center)),
                ("diagonal of the drift matrix", listed(np.diag(self.drift_matrix))),
                ("diagonal of the diffusion", listed(np.diag(self.diffusion))),
                ("variances at T = 1", listed(np.diag(self.covariance))),
            ],
        )


def quasi_potential(
    drift_matrix: Arg[Numbers], diffusion: Arg[Numbers] = 1.0, *, center: Arg[Numbers | None] = None
) -> QuasiPotential:
    """The quasi-potential of `dX = -J (X - c) dt + sqrt(2 T) S dW`, `D = S S'`: what a path has to
    climb as T falls.

    `V(x) = (x - c)' C^-1 (x - c) / 2`, where `J C + C J' = 2 D`; the mean exit time goes as exp(min
    V / T), the minimum taken over the boundary. Where J is a Hessian and D the identity, V is the
    loss; elsewhere it is V that decides.

    Args:
        drift_matrix: J, `(d, d)`; any, if every eigenvalue has a positive real part.
            `dynamics.linearisation()`.
        diffusion: D: a number, `(d,)` for a diagonal, or `(d, d)`, without negative eigenvalues;
            the identity by default.
        center: c, `(d,)`, the stable point; the origin by default.

    Returns:
        V, its cheapest exits and the paths that lead there.

    Raises:
        TypeError: an argument that is not made of real numbers, or traced by JAX.
        ValueError: shapes that do not fit; a flow that is not stable; a diffusion that is not
            symmetric or has negative eigenvalues, or that leaves a direction without noise.

    Source:
        Freidlin and Wentzell, Random Perturbations of Dynamical Systems (1984), chapter 4.
    """

    j = errors.reals("drift_matrix", drift_matrix)
    if j.ndim != 2 or j.shape[0] != j.shape[1]:
        raise ValueError(
            f"drift_matrix must have shape (d, d), not {j.shape}. For example "
            "drift_matrix=jnp.eye(2)."
        )
    dim = len(j)
    slowest = float(np.linalg.eigvals(j).real.min())
    if not slowest > 0:
        raise ValueError(
            f"the flow -J x is not stable: J has an eigenvalue of real part {slowest:.3g}, which "
            "must be positive. Linearise at a minimum; the sign is that of a Hessian."
        )
    d = diffusion_matrix(diffusion, dim)
    c = (
        np.zeros(dim)
        if center is None
        else errors.reals("center", center, f"center=jnp.zeros({dim})", (dim,))
    )
    covariance = scipy.linalg.solve_continuous_lyapunov(j, 2 * d)
    covariance = (covariance + covariance.T) / 2
    _check_reached(covariance)
    return QuasiPotential(j, d, c, covariance)


def diffusion_matrix(value: Arg[Numbers], dim: int) -> np.ndarray:
    """D as a matrix `(dim, dim)` without negative eigenvalues, from a number, a diagonal or a
    matrix."""
    d = errors.reals("diffusion", value, f"diffusion=jnp.eye({dim})")
    if d.ndim < 2:
        if d.shape not in ((), (dim,)):
            raise ValueError(
                f"diffusion must be a number or have shape ({dim},) or ({dim}, "
                f"{dim}), not {d.shape}."
            )
        d = np.diag(np.broadcast_to(d, (dim,)))
    return covariance("diffusion", d, dim)


def _check_reached(covariance: np.ndarray) -> None:
    """Refuses a pair (J, D) that is not controllable: C has no inverse. Seen in correlations,
    whatever the units."""
    spread = np.sqrt(np.maximum(np.diag(covariance), 0))
    # a coordinate without noise: a row of zeros
    unit = np.where(spread > _RANK * spread.max(), spread, np.inf)
    values, vectors = np.linalg.eigh(covariance / np.outer(unit, unit))
    if not values[0] > _RANK * len(values):
        direction = vectors[:, 0] / np.where(np.isinf(unit), 1, unit)
        raise ValueError(
            f"the noise does not reach the direction {direction / np.linalg.norm(direction)}: "
            "neither diffusion nor flow brings any there (the pair J, D is not controllable), and "
            "V is infinite. Give it noise, or leave it out."
        )


def _cheapest(
    potential: QuasiPotential, domain: Ball | Box | Ellipsoid | HalfSpaces
) -> tuple[float, np.ndarray]:
    """The least V on the boundary, and where."""
    eye = np.eye(len(potential.center))
    if isinstance(domain, HalfSpaces):
        return _planes(
            potential, np.asarray(domain.normals, float), np.asarray(domain.offsets, float)
        )
    if isinstance(domain, Box):
        offsets = np.concatenate([np.asarray(domain.upper), -np.asarray(domain.lower)])
        return _planes(potential, np.vstack([eye, -eye]), offsets.astype(float))
    middle = np.asarray(domain.center, float)
    if isinstance(domain, Ball):
        return _sphere(potential, middle, eye, np.full(len(eye), float(domain.radius)))
    axes = eye if domain.axes is None else np.asarray(domain.axes, float)
    return _sphere(potential, middle, axes, np.asarray(domain.radii, float))


def _planes(
    potential: QuasiPotential, normals: np.ndarray, offsets: np.ndarray
) -> tuple[float, np.ndarray]:
    """Of planes `n . x = offset`: the cheapest touches the largest sublevel set of V that fits
    in."""
    gaps = offsets - normals @ potential.center
    spread = np.sum(normals @ potential.covariance * normals, 1)  # variance along each normal
    costs = gaps**2 / (2 * spread)
    i = int(np.argmin(costs))
    if not math.isfinite(costs[i]):
        return math.inf, potential.center
    return float(costs[i]), potential.center + potential.covariance @ normals[i] * gaps[i] / spread[
        i
    ]


def _sphere(
    potential: QuasiPotential, middle: np.ndarray, axes: np.ndarray, radii: np.ndarray
) -> tuple[float, np.ndarray]:
    """The domain is the unit ball in `z = axes' (x - middle) / radii`; there C is K, of eigenvalues
    k, and the center z0.

    In the eigenvectors of K, `(z - z0)' K^-1 (z - z0)` is stationary on `|z| = 1` where
    `z_i = z0_i / (1 - (1 - u) k_i / k_max)`, and least for the u in (0, 1) that gives `|z| = 1`.
    Without one, an eigenvector of k_max makes up what is missing."""

    onto = axes / radii
    k, vectors = np.linalg.eigh(onto.T @ potential.covariance @ onto)
    start = vectors.T @ (onto.T @ (potential.center - middle))
    share = k / k[-1]

    def place(log_u: float) -> np.ndarray:
        return start / ((1 - share) + math.exp(log_u) * share)

    def excess(log_u: float) -> float:
        return float(np.sum(np.minimum(np.abs(place(log_u)), 2) ** 2)) - 1

    smallest = -700.0
    if excess(smallest) > 0:
        z = place(
            scipy.optimize.root_scalar(
                excess, method="brentq", bracket=(smallest, 0.0), xtol=1e-14
            ).root
        )
    else:
        z = np.where(share < 1, place(smallest), 0)
        z[-1] = math.copysign(math.sqrt(max(0.0, 1 - float(np.sum(z * z)))), start[-1])
    cost = float(np.sum((z - start) ** 2 / k)) / 2
    return cost, middle + (axes * radii) @ (vectors @ z)
