"""The equation of diffrax's terms, `dX = f(t, X) dt + g(t, X) dW`, as dynamics of this package.

A field that does not read the time is a drift or a scale of an `SDE`. Whether it reads the time, or
the position, is found by tracing it once: `jax.vmap` over the argument leaves the output without an
axis exactly where no operation carries the argument there.
"""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.dynamics import SDE
from levysde.noise import Brownian, DenseScale, DiagonalScale, LowRankScale, StateScale
from levysde.parts import Part, own_arrays
from levysde.protocols import Driver, Dynamics, NoiseVector, Point, Scalar, Scale, State

EXAMPLE = (
    "MultiTerm(ODETerm(f), ControlTerm(g, UnsafeBrownianPath(shape=(2,), key=jax.random.key(0))))"
)
_DRIFT, _DIFFUSION = "the drift f(t, y, args) of terms", "the diffusion g(t, y, args) of terms"


class Field(Part):
    """A vector field of a term at one time: a function of the position."""

    arrays: tuple[Array | None, ...]  # of the function and of args
    time: Array
    rest: tuple = eqx.field(static=True)  # what is no array, and how they belong together
    shape: tuple[int, ...] | None = eqx.field(static=True)  # of the control, None for a drift
    reads_position: bool = eqx.field(static=True)

    def __init__(
        self,
        fn: Callable,
        args: Any,
        shape: tuple[int, ...] | None = None,
        reads_position: bool = True,
    ):
        leaves, structure = jax.tree.flatten((fn, args))
        kept = [eqx.is_array(leaf) or isinstance(leaf, np.ndarray) for leaf in leaves]
        pairs = list(zip(leaves, kept, strict=True))
        self.arrays = tuple(jnp.asarray(leaf) if keep else None for leaf, keep in pairs)
        others = tuple(None if keep else leaf for leaf, keep in pairs)
        self.rest, self.time = (others, structure), jnp.zeros(())
        self.shape, self.reads_position = shape, reads_position

    def _arguments(self) -> dict[str, Any]:
        fn, args = self._parts()
        return {"fn": fn, "args": args}

    def _parts(self) -> tuple[Callable, Any]:
        others, structure = self.rest
        leaves = [
            other if array is None else array
            for array, other in zip(self.arrays, others, strict=True)
        ]
        return jax.tree.unflatten(structure, leaves)

    def __call__(self, x: Point) -> Array:
        # zeros where x is not read, so that solvers for such noise see that it is not
        return self.value(self.time, x if self.reads_position else jnp.zeros_like(x))

    def value(self, t: Array, x: Point) -> Array:
        """The drift `(d,)`, or the factor of the noise, `(d,)` for a diagonal or `(d, m)`."""
        fn, args = self._parts()
        out = own_arrays(fn)(t, x, args)
        if self.shape is None:
            return jnp.asarray(out)
        if isinstance(out, lineax.AbstractLinearOperator):
            square = self.shape == x.shape and out.in_size() == out.out_size()
            return lineax.diagonal(out) if square and lineax.is_diagonal(out) else out.as_matrix()
        out = jnp.asarray(out)
        return out[:, None] if self.shape == () and out.ndim == 1 else out


class DiffraxSDE(Dynamics):
    """The equation of diffrax's terms where it is no `SDE`: a field reads the time, or the noise
    depends on the position and the solver reads it as Stratonovich.

    The state is the position and the number of steps made. A step by `EulerMaruyama` is one of
    Euler's or of the Euler-Heun method.
    """

    equation: SDE  # at time 0
    reads_time: bool = eqx.field(static=True)
    stratonovich: bool = eqx.field(static=True)

    def __init__(self, equation: SDE, *, reads_time: bool, stratonovich: bool):
        self.equation, self.reads_time, self.stratonovich = equation, reads_time, stratonovich

    @property
    def dim(self) -> int:
        """d, the length of the position."""
        return self.equation.dim

    @property
    def driver(self) -> Driver:
        """Brownian motion."""
        return self.equation.driver

    @property
    def epsilon(self) -> Array:
        """1."""
        return self.equation.epsilon

    @property
    def scale(self) -> Scale:
        """The diffusion g at time 0."""
        return self.equation.scale

    def at(self, time: Array) -> SDE:
        """The fields at this time."""

        def times(equation: Any) -> list[Any]:
            fields = equation.drift, getattr(equation.scale, "fn", None)
            return [field.time for field in fields if isinstance(field, Field)]

        return eqx.tree_at(times, self.equation, [time] * len(times(self.equation)))

    def force(self, x: Point) -> Point:
        """Minus the drift f at time 0."""
        return self.equation.force(x)

    def init(self, x0: Point) -> State:
        return x0, jnp.zeros((), jnp.uint32)

    def step(self, state: State, dt: Scalar, increment: NoiseVector) -> State:
        x, count = state
        now = self.at(count.astype(dt.dtype) * dt)
        kick = now.kick(increment, x)
        if self.stratonovich:
            kick = (kick + now.kick(increment, x + kick)) / 2
        return x + (kick - dt * now.force(x)), count + jnp.uint32(1)

    def position(self, state: State) -> Point:
        return state[0]

    def move(self, state: State, x: Point) -> State:
        return x, state[1]

    @property
    def has_attractor(self) -> bool:
        return self.equation.has_attractor

    @property
    def attractor(self) -> Point:
        self._check_autonomous()
        return self.equation.attractor

    def jump(self, y: NoiseVector) -> Point:
        return self.equation.jump(y)

    def linearisation(self) -> Float[Array, "d d"]:
        return self.equation.linearisation()

    @property
    def response(self) -> str:
        """Raises ValueError where a field reads the time."""
        self._check_autonomous()
        return "map"

    def _check_autonomous(self) -> None:
        if self.reads_time:
            raise ValueError(
                "the terms read the time t, so there is no one rate of escape and no escape law. "
                "Simulate instead, or fix t in the drift and the diffusion."
            )


def dynamics_of(
    terms: diffrax.MultiTerm, *, ito: bool, dim: Any, args: Any, attractor: Any
) -> SDE | DiffraxSDE:
    """An `SDE` where neither field reads the time and the noise is read as Ito, or does not depend
    on the position; else a `DiffraxSDE`.

    Args:
        terms: as `DiffraxKernel` takes them.
        ito: whether the noise is read as Ito, else as Stratonovich.
        dim, args, attractor: as `DiffraxKernel` takes them, unchecked.
    """
    f, g, shape = _fields(terms)
    dim = errors.integer("dim", dim)
    drift, diffusion = Field(f, args), Field(g, args, shape)
    _check_leaves(drift, diffusion)
    m = shape[0] if shape else 1
    t, x = (jax.ShapeDtypeStruct(s, jnp.result_type(float)) for s in ((), (dim,)))
    errors.outcome(
        _DRIFT,
        drift.value,
        t,
        x,
        example=f"lambda t, y, args: -y, with dim={dim} the length of y",
        shape=(dim,),
        what=f"a real array of shape ({dim},) for y of that shape",
    )
    example = f"lambda t, y, args: 0.1 * jnp.ones(({dim}, {m}))"
    found = errors.outcome(_DIFFUSION, diffusion.value, t, x, example=example)
    fits = found.shape == (dim, m) or found.shape == shape == (dim,)
    if not fits or not jnp.issubdtype(found.dtype, jnp.floating):
        diagonal = ", or the diagonal of one of shape (d,)" if shape == (dim,) else ""
        raise TypeError(
            f"{_DIFFUSION} must return a real matrix of shape (d, m) = ({dim}, {m}){diagonal}, as "
            f"an array or an operator of lineax, for a control of shape {shape}, not {found}. "
            f"For example {example}."
        )
    reads_position = _reads(diffusion, 1, t, x)
    reads_time = _reads(drift, 0, t, x) or _reads(diffusion, 0, t, x)
    diffusion = Field(g, args, shape, reads_position)
    if reads_time and attractor is not None:
        raise ValueError(
            f"attractor = {errors.shown(attractor)}, but the terms read the time t, and a point is "
            "at rest at one time only. Leave attractor out."
        )
    if reads_position or reads_time:
        scale: Scale = StateScale(diffusion, dim=dim, noise_dim=m)
    else:
        scale = _constant(diffusion(jnp.zeros(dim)), example)
    equation = SDE(drift, Brownian(), dim=dim, scale=scale, attractor=attractor)
    stratonovich = reads_position and not ito
    if reads_time or stratonovich:
        return DiffraxSDE(equation, reads_time=reads_time, stratonovich=stratonovich)
    return equation


def _fields(terms: diffrax.MultiTerm) -> tuple[Callable, Callable, tuple[int, ...]]:
    """f, g, and the shape of the control."""
    parts = terms.terms
    drifts = [part for part in parts if isinstance(part, diffrax.ODETerm)]
    noises = [part for part in parts if isinstance(part, diffrax.ControlTerm)]
    if len(parts) != 2 or len(drifts) != 1 or len(noises) != 1:
        kinds = ", ".join(type(part).__name__ for part in parts)
        several = (
            " Write several as one, whose control has the coordinates of all: "
            "jnp.concatenate([g1, g2], 1)."
            if len(noises) > 1
            else ""
        )
        raise TypeError(
            f"terms must be one ODETerm and one ControlTerm, not ({kinds}).{several} For example "
            f"{EXAMPLE}."
        )
    control: Any = noises[0].control
    if not isinstance(control, diffrax.AbstractBrownianPath):
        raise TypeError(
            f"the control of terms must be a Brownian path of diffrax, not {errors.shown(control)}."
            " Other noise is stepped by EulerMaruyama(SDE(drift, driver, dim=2, scale=...), "
            f"dt=1e-3). For example {EXAMPLE}."
        )
    shape = getattr(getattr(control, "shape", None), "shape", None)
    if shape is None or len(shape) > 1 or 0 in shape:
        raise TypeError(
            "the control of terms must have shape (m,), m the number of coordinates of the noise, "
            f"or (), not {errors.shown(getattr(control, 'shape', None))}. For example {EXAMPLE}."
        )
    return drifts[0].vector_field, noises[0].vector_field, shape


def _check_leaves(*fields: Field) -> None:
    for field in fields:
        for leaf in (*field.arrays, *field.rest[0]):
            known = not errors.is_traced(leaf) and eqx.is_inexact_array_like(leaf)
            if known and np.isnan(np.asarray(leaf)).any():
                raise ValueError(
                    f"args, or a function of terms, holds NaN: {errors.shown(leaf)}. What is "
                    "computed from it would be NaN: replace it."
                )
        try:
            hash(field.rest)
        except TypeError as error:
            raise TypeError(
                f"args, or a function of terms, holds something that is neither an array nor "
                f"hashable ({error}). Give arrays, numbers, functions, and tuples, lists or "
                "dictionaries of these."
            ) from None


def _reads(field: Field, which: int, *shapes: jax.ShapeDtypeStruct) -> bool:
    """Whether the value depends on the time (0) or on the position (1)."""
    axes = tuple(0 if i == which else None for i in range(2))
    stacked = [
        jax.ShapeDtypeStruct((2, *shape.shape), shape.dtype) if i == which else shape
        for i, shape in enumerate(shapes)
    ]
    try:
        jax.eval_shape(jax.vmap(field.value, axes, None), *stacked)
    except ValueError:  # the output has the axis
        return True
    return False


def _constant(factor: Array, example: str) -> Scale:
    factor = errors.finite(_DIFFUSION, factor, example)
    if not errors.is_traced(factor) and not np.any(np.asarray(factor)):
        raise ValueError(
            f"{_DIFFUSION} is zero throughout: nothing would move at random. For example {example}."
        )
    if factor.ndim == 1:
        return DiagonalScale(factor)
    return (DenseScale if factor.shape[0] == factor.shape[1] else LowRankScale)(factor)
