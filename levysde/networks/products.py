"""A network near one point as functions of NumPy vectors: losses, and products with its Hessian and
its gradient covariance."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from levysde.landscapes import NetworkLandscape
from levysde.networks import example_blocks as programs
from levysde.networks.curvature import lanczos
from levysde.networks.example_blocks import Blocks, compiled, fitting, in_blocks

LBFGS_VECTORS = 10  # pairs kept, which the Krylov vectors of the spectrum outnumber
_RAYS = 256  # losses along rays in one compiled call
_GRADIENTS = 64  # gradients of single examples held at a time, at most
_DESCENT_STEPS = 30
_KINK = 0.1  # of the fall of a smooth loss: less is a kink
_SEEN = 1e-6  # of the spread of the examples' losses: falls above the rounding of float32


class Products:
    """Products at the landscape's marked point, each program within `limit` bytes.

    Attributes:
        gradient: of the mean loss without weight decay, shape `(d,)`; `slope` is with it.
        losses: of each example, shape `(n,)`.
        needs: bytes of the largest program.

    Raises ValueError when a program does not fit.
    """

    def __init__(self, landscape: NetworkLandscape, limit: int):
        self.landscape, self.limit = landscape, limit
        self.x = landscape.minimum
        n = landscape.num_examples

        def second(size: int) -> tuple[Any, int]:
            return compiled(programs.hessian_product, in_blocks(landscape, size), self.x, self.x)

        size, self._hessian, self.needs = fitting(second, n, limit, "a product with the Hessian")
        self.blocks: Blocks = in_blocks(landscape, size)
        self.losses = np.asarray(
            self._made(programs.example_losses, self.x)(self.blocks, self.x), float
        ).ravel()[:n]
        gradient = self._made(programs.data_gradient, self.x)(self.blocks, self.x)
        self.gradient = np.asarray(gradient, float)
        self.slope = self.gradient + float(landscape.weight_decay) * np.asarray(self.x, float)

    def _made(self, program: Any, *args: Any) -> Any:
        made, needs = compiled(program, self.blocks, *args)
        self.needs = max(self.needs, needs)
        return made

    @property
    def dim(self) -> int:
        return self.landscape.dim

    @property
    def loss(self) -> float:
        """With weight decay."""
        x = np.asarray(self.x, float)
        return float(self.losses.mean() + float(self.landscape.weight_decay) / 2 * x @ x)

    def hessian(self, v: np.ndarray) -> np.ndarray:
        return np.asarray(self._hessian(self.blocks, self.x, self._device(v)), float)

    def covariance(self, v: np.ndarray) -> np.ndarray:
        made = self._made(programs.covariance_product, self.x, self.x)
        along = np.asarray(made(self.blocks, self.x, self._device(v)), float)
        return along - self.gradient * (self.gradient @ v)

    def descend(self, steps: int) -> tuple[np.ndarray, float]:
        """The point after `steps` steps of L-BFGS, and by how much the loss fell."""
        from scipy.optimize import minimize  # slow to import

        made = self._made(programs.loss_and_slope, self.x)
        start = np.asarray(self.x, float)

        def both(x: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = made(self.blocks, self._device(x))
            return float(value), np.asarray(slope, float)

        options = {
            "maxiter": steps,
            "maxfun": 3 * steps,
            "maxcor": LBFGS_VECTORS,
            "ftol": 0.0,
            "gtol": 1e-9,
        }
        found = minimize(both, start, jac=True, method="L-BFGS-B", options=options)
        fall = both(start)[0] - float(found.fun)
        return (np.asarray(found.x), fall) if np.isfinite(found.fun) and fall > 0 else (start, 0.0)

    def moments(self, coordinates: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The diagonal of C1, largest size of an example's gradient in each coordinate, and
        `g_i - g` in the chosen coordinates, `(n, m)`."""
        chosen, mean = jnp.asarray(coordinates, jnp.int32), self._device(self.gradient)
        n = self.landscape.num_examples

        def program(size: int) -> tuple[Any, int]:
            return compiled(
                programs.example_moments, in_blocks(self.landscape, size), self.x, mean, chosen
            )

        size, made, needs = fitting(
            program, min(n, _GRADIENTS), self.limit, "the gradients of single examples"
        )
        self.needs = max(self.needs, needs)
        squares, largest, columns = made(in_blocks(self.landscape, size), self.x, mean, chosen)
        return (
            np.asarray(squares, float) / n,
            np.asarray(largest, float),
            np.asarray(columns, float)[:n],
        )

    def example_curvature(self) -> Any:
        """The function `i -> g_i - g, (g_i - g)' H (g_i - g)`."""
        mean = self._device(self.gradient)
        made = self._made(programs.example_curvature, self.x, mean, jnp.asarray(0, jnp.int32))

        def curved(i: int) -> tuple[np.ndarray, float]:
            apart, value = made(self.blocks, self.x, mean, jnp.asarray(i, jnp.int32))
            return np.asarray(apart, float), float(value)

        return curved

    def along_axes(self, axes: np.ndarray, signs: np.ndarray) -> Any:
        """`(ray, r) -> F(x + r sign e_axis)` for arrays of rays' numbers and distances, given the
        axis and sign of each."""
        made = self._made(
            programs.axis_losses,
            self.x,
            jnp.zeros(_RAYS, jnp.int32),
            jnp.zeros(_RAYS, self.x.dtype),
            jnp.asarray(0, jnp.int32),
        )

        def losses(ray: np.ndarray, r: np.ndarray) -> np.ndarray:
            return self._in_calls(
                lambda i, s, count: made(self.blocks, self.x, i, s, count),
                axes[ray],
                signs[ray] * r,
            )

        return losses

    def along_directions(
        self, sizes: np.ndarray, preconditioner: np.ndarray, seed: int
    ) -> tuple[Any, Any]:
        """`(ray, r) -> F(x + r u_ray)`, and `ray -> (length of A v, u'Hu, u'Q^-1 Hu)`: directions v
        uniform on the sphere, `u = A v / |A v|`."""
        key, factors = jax.random.key(seed), self._device(sizes)
        made = self._made(
            programs.direction_losses,
            self.x,
            factors,
            key,
            jnp.zeros(_RAYS, jnp.int32),
            jnp.zeros(_RAYS, self.x.dtype),
            jnp.asarray(0, jnp.int32),
        )

        divisor = self._device(preconditioner)
        second = self._made(
            programs.direction_curvature, self.x, factors, divisor, key, jnp.asarray(0, jnp.int32)
        )

        def losses(ray: np.ndarray, r: np.ndarray) -> np.ndarray:
            return self._in_calls(
                lambda i, s, count: made(self.blocks, self.x, factors, key, i, s, count), ray, r
            )

        def curvature(ray: int) -> np.ndarray:
            return np.asarray(
                second(self.blocks, self.x, factors, divisor, key, jnp.asarray(ray, jnp.int32)),
                float,
            )

        return losses, curvature

    def _in_calls(self, call: Any, ray: np.ndarray, steps: np.ndarray) -> np.ndarray:
        found = np.empty(len(ray))
        for start in range(0, len(ray), _RAYS):
            here = slice(start, min(start + _RAYS, len(ray)))
            count = here.stop - start
            i, s = np.zeros(_RAYS, np.int32), np.zeros(_RAYS)
            i[:count], s[:count] = ray[here], steps[here]
            values = call(jnp.asarray(i), self._device(s), jnp.asarray(count, jnp.int32))
            found[here] = np.asarray(values, float)[:count]
        return found

    def _device(self, v: np.ndarray) -> Any:
        return jnp.asarray(v, self.x.dtype)


def descent_left(model: Products, largest: float) -> tuple[float, bool]:
    """A lower bound of how much the loss would still fall, and whether it has a kink at the point.

    The fall is the larger of two numbers: `g' H^-1 g / 2` in the Krylov space of the gradient g,
    the fall to the minimum of the quadratic approximation; and the fall in 30 steps of L-BFGS, the
    only one that is known if this space has negative curvature. Without a kink, a step along the
    gradient lowers the loss by at least `|g|^2 / (2 largest)`, where `largest` is the largest
    eigenvalue. If 30 steps lower it by far less, there is a kink.
    """
    size = float(np.linalg.norm(model.slope))
    if size == 0:
        return 0.0, False
    fall = model.descend(_DESCENT_STEPS)[1]
    smooth = size**2 / (2 * largest) if largest > 0 else 0.0
    kink = bool(fall < _KINK * smooth and smooth > _SEEN * model.losses.std())
    nodes, weights = lanczos(model.hessian, model.slope, _DESCENT_STEPS)
    felt = weights > 1e-6
    if kink or (nodes[felt] <= 0).any():
        return fall, kink
    return max(fall, float(size**2 / 2 * np.sum(weights[felt] / nodes[felt]))), False
