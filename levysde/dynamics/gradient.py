"""First-order dynamics: SGD under a Lévy driver, and Langevin.

SGD (Zhou et al., NeurIPS 2020, eq. 4): `d th = -grad F(th) dt + eps S dL`. With
`eps = eta^((a-1)/a)` one Euler step of size eta is exactly one noisy optimiser step of learning
rate eta: `eps * eta^(1/a) = eta`.

Everything that moves the position in a step is summed before it is added to the position. In
`(x - dt * gradient) + kick` the sum in parentheses is rounded to the float spacing of x, and a
drift of less than half the spacing is lost, however large the noise is. In
`x + (kick - dt * gradient)` the noise carries the drift over the spacing: rounding is then
unbiased, unless the noise of a step is itself small against the spacing
(`levysde.escape.precision` checks that before a run).

Where S depends on th, a jump y of the noise moves th to `th + eps S(th) y` (Ito), or to `phi(1)`
with (Marcus)

    phi' = eps S(phi) y,    phi(0) = th,

so that the chain rule holds as in ordinary calculus; for Brownian noise it is Stratonovich's.
Different jumps leave a basin under the two readings, so they have different escape laws. Marcus,
IEEE Trans. Inform. Theory 24 (1978); Kurtz, Pardoux, Protter, Ann. Inst. H. Poincaré B 31 (1995).

The flow of a jump is followed by the method of Dormand and Prince of order 5 (J. Comput. Appl.
Math. 6, 1980) with a step length chosen by its error estimate: jumps of heavy-tailed noise are of
every size, and equal parts of a large one would be thrown far out where the field falls to zero.
The unknown is the displacement `u = phi - th`, and the clock runs to `max |y_i|` along a unit jump,
so that numbers stay in range. Most jumps take one sub-step.
"""

import functools
from abc import abstractmethod
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.noise import STATE_FREE, Brownian, as_scale, covariance_root
from levysde.protocols import Driver, Dynamics, Landscape, NoiseVector, Point, Scalar, Scale, State
from levysde.types import Arg, Integer, Number, Numbers

_TOLERANCE = 1e-5  # error of a sub-step, as a share of the displacement so far
_SAFETY, _SHRINK, _GROW = 0.9, 1e-3, 8.0
_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


class WholeStep(Dynamics):
    """Dynamics whose step is given as a displacement."""

    @abstractmethod
    def advance(self, state: State, dt: Scalar, increment: NoiseVector) -> tuple[State, Point]:
        """The state after a step but for its position, and the displacement of that."""

    def step(self, state: State, dt: Scalar, increment: NoiseVector) -> State:
        new, displacement = self.advance(state, dt, increment)
        return self.move(new, self.position(state) + displacement)


def check_parts(landscape: Arg[Landscape], driver: Arg[Driver]) -> None:
    errors.instance(
        "landscape",
        landscape,
        Landscape,
        "Quadratic(hessian=jnp.eye(2)); make your own loss into one with levysde.from_function",
    )
    errors.instance("driver", driver, Driver, "StableComponents(alpha=1.5)")
    check_arrays(landscape)
    leaves, structure = jax.tree.flatten(landscape)
    _check_gradient(
        structure, tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves), landscape.dim
    )


def check_arrays(part: Any) -> None:
    """Raises TypeError where a part holds something that is neither static nor an array."""
    for leaf in jax.tree.leaves(part):
        if not eqx.is_array_like(leaf):
            raise TypeError(
                f"{type(part).__name__} holds {errors.shown(leaf)}, which is no array. Mark "
                "its field as static, or take the arrays out by equinox.partition."
            )


@functools.lru_cache(maxsize=256)
def _check_gradient(structure: Any, kinds: tuple, dim: int) -> None:
    """A number for a gradient would be spread over all coordinates in silence. Once for each
    structure: it is traced."""
    name = type(jax.tree.unflatten(structure, kinds)).__name__
    x = jax.ShapeDtypeStruct((dim,), jnp.result_type(float))

    def gradient(x: Point) -> Array:
        leaves = [jnp.zeros(*kind) for kind in kinds]
        return jax.tree.unflatten(structure, leaves).gradient(x)

    example = "gradient = jax.grad(value)"
    what = f"a real array of shape ({dim},) for x of that shape"
    errors.outcome(f"{name}.gradient", gradient, x, example=example, shape=(dim,), what=what)


def noisy_parts(
    landscape: Arg[Landscape],
    driver: Arg[Driver],
    epsilon: Arg[Number | None],
    learning_rate: Arg[Number | None],
    scale: Arg[Scale | Numbers | None],
) -> tuple[Landscape, Driver, Array, Scale]:
    """What every optimiser's SDE is made of, checked: landscape, driver, epsilon, scale.

    Epsilon is given, or follows from the learning rate by `eps = eta^((a-1)/a)` (Zhou et al. 2020).
    For a <= 1 it does not fall with eta.
    """
    check_parts(landscape, driver)
    if (epsilon is None) == (learning_rate is None):
        raise ValueError(
            f"give exactly one of epsilon and learning_rate, not epsilon={epsilon!r} and "
            f"learning_rate={learning_rate!r}. For example epsilon=0.1."
        )
    if epsilon is not None:
        amplitude = errors.positive("epsilon", epsilon)
    else:
        eta = errors.positive("learning_rate", learning_rate, "learning_rate=1e-3")
        amplitude = eta ** ((driver.index - 1) / driver.index)
    return landscape, driver, amplitude, as_scale(scale, landscape.dim)


class Descent(WholeStep):
    """An optimiser's SDE, which rests at the landscape's minimum."""

    landscape: Landscape
    driver: Driver
    epsilon: Array
    scale: Scale

    @property
    def dim(self) -> int:
        """d, the length of the position."""
        return self.landscape.dim

    @property
    def attractor(self) -> Point:
        return self.landscape.minimum

    def force(self, x: Point) -> Point:
        return self.landscape.gradient(x)


class FirstOrder(WholeStep):
    """`d x = -force(x) dt + epsilon S(x) dL`, the state being the position."""

    def init(self, x0: Point) -> Point:
        return x0

    def kick(self, y: NoiseVector, x: Point) -> Point:
        """The displacement that the noise y makes at x."""
        return self.epsilon * self.scale.apply(y, x)

    def advance(self, state: Point, dt: Scalar, increment: NoiseVector) -> tuple[Point, Point]:
        return state, self.kick(increment, state) - dt * self.force(state)

    def position(self, state: Point) -> Point:
        return state

    def move(self, state: Point, x: Point) -> Point:
        return x

    def jump(self, y: NoiseVector) -> Point:
        return self.epsilon * self.scale.apply(y, self.attractor)


class _GradientFlow(Descent, FirstOrder):
    """What SGD and Langevin share: the force is the gradient of a loss."""

    def linearisation(self) -> Float[Array, "d d"]:
        return self.landscape.hessian(self.attractor)


class SGD(_GradientFlow):
    """`d th = -grad F(th) dt + epsilon S dL`.

    Args:
        landscape: the loss F.
        driver: the law of L.
        epsilon: noise amplitude, positive; or
        learning_rate: eta, positive, then `epsilon = eta^((a-1)/a)` and a step of `dt = eta` is one
            optimiser step.
        scale: S: a number, `(d,)`, `(d, d)`, or a `Scale`; the identity by default.
        convention: of a scale that depends on the position: "ito" takes S before the jump; "marcus"
            follows the field of S through the jump (Stratonovich for Brownian noise). The escape
            law uses the jump map of the same name.
        marcus_steps: most sub-steps that a jump may take along its field, at least 1.

    Raises:
        ValueError, TypeError: parts of the wrong kind, not exactly one of the two amplitudes, a bad
            scale, an unknown convention, or "marcus" with a scale that does not depend on the
            position (the two are one there).

    Source:
        Zhou et al., NeurIPS 2020, eq. 4; the Marcus convention Marcus, IEEE Trans. Inform. Theory
        24, 1978.
    """

    convention: str = eqx.field(static=True)
    marcus_steps: int = eqx.field(static=True)

    def __init__(
        self,
        landscape: Arg[Landscape],
        driver: Arg[Driver],
        *,
        epsilon: Arg[Number | None] = None,
        learning_rate: Arg[Number | None] = None,
        scale: Arg[Scale | Numbers | None] = None,
        convention: Arg[Literal["ito", "marcus"]] = "ito",
        marcus_steps: Arg[Integer] = 64,
    ):
        self.landscape, self.driver, self.epsilon, self.scale = noisy_parts(
            landscape, driver, epsilon, learning_rate, scale
        )
        self.convention = errors.choice("convention", convention, ("ito", "marcus"))
        if convention == "marcus" and isinstance(self.scale, STATE_FREE):
            raise ValueError(
                f'convention="marcus" with {type(self.scale).__name__}: S does not depend on the '
                "position, so Marcus and Ito are one. Leave convention out, or give a scale of the "
                "position, for example StateScale(lambda x: 1 + x**2, dim=2)."
            )
        self.marcus_steps = errors.integer("marcus_steps", marcus_steps)

    def kick(self, y: NoiseVector, x: Point) -> Point:
        if self.convention == "marcus":
            return marcus_displacement(self.scale, self.epsilon, y, x, self.marcus_steps)
        return super().kick(y, x)

    @property
    def response(self) -> str:
        return "map" if self.convention == "marcus" else "linear"


class Langevin(_GradientFlow):
    """`d th = -grad F(th) dt + sqrt(2 D) dW`, W a standard Brownian motion.

    Args:
        landscape: the loss F.
        diffusion: D: a number, `(d,)`, or a symmetric positive semidefinite `(d, d)`; a scalar D is
            the temperature, in units of the loss.

    Raises:
        ValueError, TypeError: no landscape; a D that is not finite, not symmetric, or has a
            negative eigenvalue.

    Source:
        Elementary: overdamped Langevin dynamics.
    """

    def __init__(self, landscape: Arg[Landscape], *, diffusion: Arg[Numbers]):
        self.driver = Brownian()
        check_parts(landscape, self.driver)
        self.landscape = landscape
        self.epsilon = jnp.asarray(1.0, dtype=float)
        dim = landscape.dim
        example = f"diffusion=0.1, {dim} values, or a {dim} x {dim} matrix"
        root = errors.finite("diffusion", diffusion, example)
        if errors.is_traced(root):
            root = jnp.sqrt(2 * root)
        elif root.shape not in ((), (dim,), (dim, dim)):
            raise ValueError(
                f"diffusion has shape {root.shape}, which does not fit d = {dim}. Give {example}."
            )
        else:
            root = jnp.asarray(np.sqrt(2) * covariance_root("diffusion", root), dtype=float)
        self.scale = as_scale(root, dim)


def marcus_displacement(scale: Scale, epsilon: Array, y: NoiseVector, x: Point, most: int) -> Point:
    """`phi(1) - x`, to about 1e-5 of itself, shape `(d,)`, by at most `most` sub-steps, tried or
    made.

    What is left of a jump then is dropped. By the default of `SGD` this is one that has gone round
    some three times, or has stretched or shrunk its field by a factor 1e8 and more: it has arrived
    at a zero of the field, or is far out.
    """
    length = jnp.max(jnp.abs(y))
    direction = y / jnp.where(length > 0, length, 1)

    def field(u: Point) -> Point:
        return epsilon * scale.apply(direction, x + u)

    def going(carry: tuple) -> Array:
        return (carry[1] > 0) & (carry[3] < most)

    def advance(carry: tuple) -> tuple:
        u, left, h, count = carry
        new, error = _dormand_prince(field, u, h)
        size = jnp.maximum(jnp.max(jnp.abs(u)), jnp.max(jnp.abs(new)))
        ratio = jnp.max(jnp.abs(error)) / jnp.where(size > 0, size * _TOLERANCE, 1)
        ratio = jnp.where(jnp.all(jnp.isfinite(new)) & jnp.isfinite(ratio), ratio, np.inf)
        good = ratio <= 1
        stretch = jnp.clip(_SAFETY * jnp.maximum(ratio, 1e-9) ** -0.2, _SHRINK, _GROW)
        left = jnp.where(good, left - h, left)
        return jnp.where(good, new, u), left, jnp.minimum(h * stretch, left), count + 1

    still = jnp.zeros_like(x)
    u = jax.lax.while_loop(going, advance, (still, length, length, jnp.zeros((), jnp.int32)))[0]
    first = field(still)
    # a scale that is NaN at x is to be noticed
    return jnp.where(jnp.all(jnp.isfinite(first)), u, first)


def _dormand_prince(field, u: Point, h: Array) -> tuple[Point, Point]:
    slopes = [field(u)]
    for row in _STAGES:
        point = u + h * sum(
            weight * slope for weight, slope in zip(row, slopes, strict=True) if weight
        )
        slopes.append(field(point))
    error = h * sum(weight * slope for weight, slope in zip(_ERROR, slopes, strict=True) if weight)
    return point, error
