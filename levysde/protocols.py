"""The interfaces that join the parts, each written for ONE trajectory; the engine adds the lanes.

Every implementation is an `equinox.Module`: its numbers are array leaves (a new value compiles nothing new), its
structure is static. Shapes: `d` is the dimension of the parameter vector, `n` a number of random words.
Small contractions are written multiply-and-sum, never as library matmuls: those change bits with the number of lanes.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Bool, Float, Int, UInt

Words = UInt[Array, " n"]
Point = Float[Array, " d"]
Scalar = Float[Array, ""]
Truth = Bool[Array, ""]
Label = Int[Array, ""]
State = Any  # a pytree of arrays


class Driver(eqx.Module):
    """The law of the driving noise L: `E exp(i <k, L_t>) = exp(-t * exponent(k))`."""

    @property
    @abstractmethod
    def index(self) -> Scalar:
        """Stability index alpha: an increment over dt scales as dt^(1/alpha). 2 for Brownian motion."""

    @abstractmethod
    def words_per_step(self, dim: int) -> int:
        """How many random words one increment in `dim` dimensions consumes."""

    @abstractmethod
    def increment(self, words: Words, dim: int, dt: Scalar) -> Point:
        """The increment of L over `dt`, a pure function of its words. Shape `(dim,)`."""

    @abstractmethod
    def exponent(self, k: Point) -> Scalar:
        """The characteristic exponent at frequency `k`."""

    @abstractmethod
    def levy_rays(self, dim: int, num: int, seed: int) -> tuple[Float[Array, "m d"], Float[Array, " m"]]:
        """Unit directions and weights of the Lévy measure: `nu(W) = sum_i weight_i * nu_1({r : r v_i in W})`, with
        `nu_1((r, inf)) = ray_tail(r)`. Exact for atoms; else about `num` quasi-random directions drawn from `seed`.
        Raises ValueError when the driver has no jumps."""

    @abstractmethod
    def ray_tail(self, r: Float[Array, "..."]) -> Float[Array, "..."]:
        """`nu_1((r, inf))`, the tail along a ray of weight one, per unit time."""

    @abstractmethod
    def total_tail(self, dim: int) -> Scalar:
        """`nu(|y| >= 1)` in `dim` dimensions, per unit time; 0 when there are no jumps."""


class Scale(eqx.Module):
    """A linear map that shapes the driver's noise."""

    @abstractmethod
    def apply(self, y: Point) -> Point:
        """`S y`."""


class Landscape(eqx.Module):
    """A loss with one marked minimum. `minimum` has shape `(d,)`; `dim` is d."""

    dim: eqx.AbstractVar[int]
    minimum: eqx.AbstractVar[Array]

    @abstractmethod
    def value(self, x: Point) -> Scalar: ...

    @abstractmethod
    def gradient(self, x: Point) -> Point: ...

    @abstractmethod
    def hessian(self, x: Point) -> Float[Array, "d d"]: ...

    @property
    @abstractmethod
    def lane_invariant(self) -> bool:
        """Whether a value's bits are the same for any number of lanes (no library matmul inside)."""


class Domain(eqx.Module):
    """The set to escape from. Inside is `label == 0`."""

    dim: eqx.AbstractVar[int]  # d, the length of the points it takes

    @abstractmethod
    def contains(self, x: Point) -> Truth:
        """Whether `x` is inside; False for NaN."""

    @abstractmethod
    def label(self, x: Point) -> Label:
        """0 inside, else the number of the exit set, from 1."""

    @abstractmethod
    def ray_distance(self, x: Point, v: Point) -> Scalar:
        """`inf {r > 0 : x + r v outside}` in units of |v|; inf when the ray never leaves."""

    @property
    @abstractmethod
    def convex(self) -> bool:
        """True when the set is known to be convex (then star-shaped about each of its points)."""

    @property
    @abstractmethod
    def lane_invariant(self) -> bool:
        """As for a landscape."""


class Dynamics(eqx.Module):
    """A stochastic differential equation around a landscape, in SDE time."""

    landscape: eqx.AbstractVar[Landscape]
    driver: eqx.AbstractVar[Driver]
    epsilon: eqx.AbstractVar[Array]  # noise amplitude

    @abstractmethod
    def init(self, x0: Point) -> State: ...

    @abstractmethod
    def step(self, state: State, dt: Scalar, increment: Point) -> State:
        """One explicit step over `dt` with the driver's increment over `dt` (Ito: coefficients before the jump)."""

    @abstractmethod
    def position(self, state: State) -> Point: ...

    @property
    @abstractmethod
    def attractor(self) -> Point:
        """The stable point of the noiseless flow."""

    @abstractmethod
    def jump(self, y: Point) -> Point:
        """Where a driver jump `y` at the attractor moves the position: `epsilon A y`."""

    @abstractmethod
    def linearisation(self) -> Float[Array, "d d"]:
        """`J` of the position's noiseless flow `dx = -J (x - attractor) dt` near the attractor."""


class Kernel(eqx.Module):
    """Anything that can escape: advances one trajectory by one step."""

    unit: eqx.AbstractVar[str]  # of `elapsed`: "SDE time" or "iterations"

    @property
    @abstractmethod
    def words_per_step(self) -> int: ...

    @property
    @abstractmethod
    def words_per_init(self) -> int: ...

    @property
    @abstractmethod
    def dim(self) -> int: ...

    @abstractmethod
    def init(self, x0: Point, words: Words) -> State: ...

    @abstractmethod
    def step(self, words: Words, state: State) -> State: ...

    @abstractmethod
    def position(self, state: State) -> Point: ...

    @abstractmethod
    def elapsed(self, state: Any, steps: Any) -> Any:
        """The clock after `steps` steps; numpy arrays with the lane axis last in, float64 out, shape `(lanes,)`."""

    @abstractmethod
    def steps_within(self, time: float) -> int:
        """The number of steps after which the clock has reached `time`."""

    @abstractmethod
    def noise_directions(self) -> Float[Array, "m d"]:
        """Directions in which the noise pushes, enough to see whether any of them leaves a domain."""

    @property
    @abstractmethod
    def lane_invariant(self) -> bool:
        """Whether results are the same bits for any number of lanes; if not, the engine keeps that number fixed."""


# Primitives whose bits depend on the size of the batch, since a library picks the order of its sums by it.
_LIBRARY = {"dot_general", "conv_general_dilated", "custom_linear_solve", "triangular_solve", "cholesky", "lu", "qr"}
_LIBRARY |= {"eigh", "eig", "svd", "schur", "fft", "ragged_dot_general"}


def is_lane_invariant(fn: Callable, *args: Any) -> bool:
    """Whether `fn(*args)` avoids library matmuls and decompositions, read off its traced program."""

    return _clean(jax.make_jaxpr(fn)(*args).jaxpr)


def _clean(jaxpr: Any) -> bool:
    for equation in jaxpr.eqns:
        if equation.primitive.name in _LIBRARY:
            return False
        for parameter in jax.tree.leaves(equation.params, is_leaf=lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr")):
            inner = getattr(parameter, "jaxpr", parameter)
            if hasattr(inner, "eqns") and not _clean(inner):
                return False
    return True
