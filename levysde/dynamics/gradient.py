"""First-order dynamics: SGD under a Lévy driver, and Langevin.

SGD (Zhou et al., NeurIPS 2020, eq. 4): `d th = -grad F(th) dt + eps S dL`. With
`eps = eta^((a-1)/a)` one Euler step of size eta is exactly one noisy optimiser step of learning
rate eta: `eps * eta^(1/a) = eta`.

Where S depends on th, a jump y of the noise moves th to `th + eps S(th) y` (Ito) or along the field
`eps S(.) y` for unit time (Marcus, see `levysde.dynamics.marcus`). The set of jumps that leave a
basin is another one, and so is the escape law.
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
from levysde.dynamics.marcus import marcus_displacement
from levysde.dynamics.whole import WholeStep
from levysde.noise import STATE_FREE, Brownian, as_scale, covariance_root
from levysde.protocols import Driver, Landscape, NoiseVector, Point, Scalar, Scale
from levysde.types import Arg, Integer, Number, Numbers


def check_parts(landscape: Arg[Landscape], driver: Arg[Driver]) -> None:
    if not isinstance(landscape, Landscape):
        raise TypeError(
            f"landscape must be a Landscape, not {landscape!r}. For example "
            "Quadratic(hessian=jnp.eye(2)); make your own loss into one with "
            "levysde.from_function."
        )
    if not isinstance(driver, Driver):
        raise TypeError(
            f"driver must be a Driver, not {driver!r}. For example StableComponents(alpha=1.5)."
        )
    leaves, structure = jax.tree.flatten(landscape)
    for leaf in leaves:
        if not eqx.is_array_like(leaf):
            raise TypeError(
                f"{type(landscape).__name__} holds {errors.shown(leaf)}, which is no array. Mark "
                "its field as static, or take the arrays out by equinox.partition."
            )
    _check_gradient(
        structure, tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves), landscape.dim
    )


@functools.lru_cache(maxsize=256)
def _check_gradient(structure: Any, kinds: tuple, dim: int) -> None:
    """A number for a gradient would be spread over all coordinates in silence. Once for each
    structure: it is traced."""
    name = type(jax.tree.unflatten(structure, kinds)).__name__
    x = jax.ShapeDtypeStruct((dim,), jnp.result_type(float))
    try:
        found = jax.eval_shape(
            lambda leaves, x: jax.tree.unflatten(structure, leaves).gradient(x),
            [jax.ShapeDtypeStruct(*kind) for kind in kinds],
            x,
        )
    except Exception as error:  # a user's class may raise anything
        raise TypeError(
            f"{name}.gradient fails for x of shape ({dim},): {errors.described(error)}"
        ) from None
    if getattr(found, "shape", None) != (dim,):
        raise TypeError(
            f"{name}.gradient must return an array of shape ({dim},) for x of that "
            f"shape, not {found}."
        )


def noise_amplitude(
    driver: Driver, epsilon: Arg[Number | None], learning_rate: Arg[Number | None]
) -> Array:
    """`epsilon`, given or from the learning rate by `eps = eta^((a-1)/a)` (Zhou et al. 2020).

    Raises ValueError unless exactly one is given, positive and finite. For a <= 1 eps does not fall
    with eta.
    """
    if (epsilon is None) == (learning_rate is None):
        raise ValueError(
            f"give exactly one of epsilon and learning_rate, not epsilon={epsilon!r} and "
            f"learning_rate={learning_rate!r}. For example epsilon=0.1."
        )
    if epsilon is not None:
        return errors.positive("epsilon", epsilon)
    eta = errors.positive("learning_rate", learning_rate, "learning_rate=1e-3")
    return eta ** ((driver.index - 1) / driver.index)


def noisy_parts(
    landscape: Arg[Landscape],
    driver: Arg[Driver],
    epsilon: Arg[Number | None],
    learning_rate: Arg[Number | None],
    scale: Arg[Scale | Numbers | None],
) -> tuple[Landscape, Driver, Array, Scale]:
    """What every optimiser's SDE is made of, checked: landscape, driver, epsilon, scale."""
    check_parts(landscape, driver)
    return (
        landscape,
        driver,
        noise_amplitude(driver, epsilon, learning_rate),
        as_scale(scale, landscape.dim),
    )


class _GradientFlow(WholeStep):
    """What SGD and Langevin share: `d th = -grad F(th) dt + epsilon S dL`, the state being the
    position."""

    landscape: Landscape
    driver: Driver
    epsilon: Array
    scale: Scale

    def init(self, x0: Point) -> Point:
        return x0

    @abstractmethod
    def kick(self, y: NoiseVector, x: Point) -> Point:
        """The displacement that the noise y makes at x."""

    def advance(self, state: Point, dt: Scalar, increment: NoiseVector) -> tuple[Point, Point]:
        return state, self.kick(increment, state) - dt * self.landscape.gradient(state)

    def position(self, state: Point) -> Point:
        return state

    def move(self, state: Point, x: Point) -> Point:
        return x

    @property
    def attractor(self) -> Point:
        return self.landscape.minimum

    def jump(self, y: NoiseVector) -> Point:
        return self.epsilon * self.scale.apply(y, self.attractor)

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
        self.convention = _convention(convention, self.scale)
        self.marcus_steps = errors.integer("marcus_steps", marcus_steps)

    def kick(self, y: NoiseVector, x: Point) -> Point:
        if self.convention == "marcus":
            return marcus_displacement(self.scale, self.epsilon, y, x, self.marcus_steps)
        return self.epsilon * self.scale.apply(y, x)

    @property
    def response(self) -> str:
        return "map" if self.convention == "marcus" else "linear"


def _convention(value: Arg[Literal["ito", "marcus"]], scale: Scale) -> str:
    if errors.choice("convention", value, ("ito", "marcus")) == "marcus" and isinstance(
        scale, STATE_FREE
    ):
        raise ValueError(
            f'convention="marcus" with {type(scale).__name__}: S does not depend on the position, '
            "so Marcus and Ito are one. Leave convention out, or give a scale of the position, "
            "for example StateScale(lambda x: 1 + x**2, dim=2)."
        )
    return value


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
        self.scale = as_scale(_root(diffusion, landscape.dim), landscape.dim)

    def kick(self, y: NoiseVector, x: Point) -> Point:
        return self.epsilon * self.scale.apply(y, x)


def _root(diffusion: Arg[Numbers], dim: int) -> Array:
    """The symmetric root of 2 D."""
    example = f"diffusion=0.1, {dim} values, or a {dim} x {dim} matrix"
    array = errors.finite("diffusion", diffusion, example)
    if errors.is_traced(array):
        return jnp.sqrt(2 * array)
    if array.shape not in ((), (dim,), (dim, dim)):
        raise ValueError(
            f"diffusion has shape {array.shape}, which does not fit d = {dim}. Give {example}."
        )
    return jnp.asarray(np.sqrt(2) * covariance_root("diffusion", array), dtype=float)
