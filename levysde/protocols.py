"""The interfaces that join the parts, each written for ONE trajectory; the engine adds the lanes.

Every implementation is an `equinox.Module`: its numbers are array leaves (a new value compiles
nothing new), its structure is static. Shapes: `d` is the dimension of the parameter vector, `m`
that of the driver's noise, `n` a number of random words. Small contractions are written
multiply-and-sum, never as library matmuls: those change bits with the number of lanes.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt

from levysde.parts import Part, short

Words = UInt[Array, " n"]
Point = Float[Array, " d"]
NoiseVector = Float[Array, " m"]  # in the coordinates of the driver, m = noise_dim
Scalar = Float[Array, ""]
Truth = Bool[Array, ""]
Label = Int[Array, ""]
State = Any  # a pytree of arrays


@dataclass(frozen=True, repr=False, eq=False)  # arrays, of which == would be an array
class LevyRays:
    """A Lévy measure as weighted half-lines:
    `nu(W) = sum_i weights_i nu_i({r : r directions_i in W})`. On the host.

    Attributes:
        directions: unit vectors, shape `(m, d)`.
        weights: float64, shape `(m,)`.
        tail: `tail(r, i)` is `nu_i((r, inf))` of the rays numbered `i`, per unit time; float64
            arrays of one shape.
        index: alpha where every tail is a multiple of `r^-alpha` (the law is then a power of
            epsilon); else NaN.
    """

    directions: np.ndarray
    weights: np.ndarray
    tail: Callable[[np.ndarray, np.ndarray], np.ndarray]
    index: float

    def total(self, radius: float = 1.0) -> float:
        """`nu(|y| >= radius)`, per unit time."""
        rays = np.arange(len(self.weights))
        return float(np.sum(self.weights * self.tail(np.full(len(rays), float(radius)), rays)))

    def __repr__(self) -> str:
        directions, weights = short(self.directions), short(self.weights)
        return f"LevyRays(directions={directions}, weights={weights}, index={self.index:g})"


@dataclass(frozen=True, repr=False, eq=False)
class TracedRays:
    """`LevyRays` as functions of JAX, for numbers of the driver that JAX traces. Only the
    directions depend on the seed.

    Attributes:
        directions: unit vectors, shape `(m, d)`, never traced. Where weights differ, the second
            half are the opposites of the first.
        weights: shape `(m,)`.
        log_tail: `log_tail(r)[i]` is the logarithm of `nu_i((r_i, inf))`, per unit time, for finite
            r of shape `(m,)`.
    """

    directions: np.ndarray
    weights: Array
    log_tail: Callable[[Array], Array]


class Driver(Part):
    """The law of the driving noise L: `E exp(i <k, L_t>) = exp(-t * exponent(k))`."""

    @property
    @abstractmethod
    def index(self) -> Scalar:
        """Stability index alpha: one step of `dt = eta` is one optimiser step where
        `epsilon = eta^((a-1)/a)`. For stable laws an increment over dt scales as dt^(1/alpha); 2
        for every law of finite variance."""

    @abstractmethod
    def words_per_step(self, dim: int) -> int:
        """How many random words one increment in `dim` dimensions consumes."""

    @abstractmethod
    def increment(self, words: Words, dim: int, dt: Scalar) -> Point:
        """The increment of L over `dt`, a pure function of its words. Shape `(dim,)`, in the dtype
        of the driver's numbers; finite whatever the words, and never exactly 0 where the law has no
        atom there."""

    @abstractmethod
    def exponent(self, k: Point) -> Array:
        """The characteristic exponent at frequency `k`; complex where the law is not symmetric."""

    @abstractmethod
    def levy_rays(self, dim: int, num: int, seed: int) -> LevyRays:
        """The Lévy measure in `dim` dimensions: exact for atoms; else about `num` quasi-random
        directions drawn from `seed`. Raises ValueError, naming the driver, when it has no jumps or
        no escape law of jumps."""

    def traced_rays(self, dim: int, num: int, seed: int) -> TracedRays:
        """The same as functions of JAX, for `theory.log_rate`. Raises TypeError where a class has
        none."""
        self.levy_rays(dim, num, seed)  # says where there are no jumps
        raise TypeError(
            f"the Lévy measure of {type(self).__name__} is not known as a function of JAX. Write "
            f"{type(self).__name__}.traced_rays, or use theory.escape_law, which needs none."
        )

    def check_step(self, dt: float) -> None:
        """Raises ValueError when the driver cannot make increments over `dt`; by default it can."""
        return None


class Scale(Part):
    """A map that shapes the driver's noise, linear in the noise."""

    @abstractmethod
    def apply(self, y: NoiseVector, x: Point) -> Point:
        """`S(x) y` at the position `x`. Shape of `y`: `(noise_dim(d),)`."""

    def noise_dim(self, dim: int) -> int:
        """How many coordinates the driver has where the position has `dim`; as many unless the
        scale is low-rank."""
        return dim


class Landscape(Part):
    """A loss with one marked minimum. `minimum` has shape `(d,)`; `dim` is d."""

    dim: eqx.AbstractVar[int]
    minimum: eqx.AbstractVar[Array]

    @abstractmethod
    def value(self, x: Point) -> Scalar:
        """The loss at `x`."""

    @abstractmethod
    def gradient(self, x: Point) -> Point:
        """Its gradient at `x`, shape `(d,)`."""

    @abstractmethod
    def hessian(self, x: Point) -> Float[Array, "d d"]:
        """Its Hessian at `x`, shape `(d, d)`."""

    @property
    def convex(self) -> bool:
        """True when the loss is known to be convex, so that its sublevel sets are."""
        return False


class Domain(Part):
    """The set to escape from. Inside is `label == 0`."""

    dim: eqx.AbstractVar[int]  # d, the length of the points it takes

    @abstractmethod
    def contains(self, x: Point) -> Truth:
        """Whether `x` is inside; False for NaN."""

    def label(self, x: Point) -> Label:
        """0 inside, else the number of the exit set, from 1; 1 everywhere outside unless a class
        knows several."""
        return (~self.contains(x)).astype(jnp.int32)

    @abstractmethod
    def ray_distance(self, x: Point, v: Point) -> Scalar:
        """`inf {r > 0 : x + r v outside}` in units of `|v|`; inf when the ray never leaves."""

    def ray_edges(self, x: Point, v: Point) -> Float[Array, " k"] | None:
        """Every `r > 0` at which the ray `x + r v` may pass between inside and outside, in units of
        `|v|`, in any order; inf and negative numbers fill the rest. None where a class does not
        know them: the ray is then searched."""
        return None

    @property
    @abstractmethod
    def convex(self) -> bool:
        """True when the set is known to be convex (then star-shaped about each of its points)."""

    def faces(self, x: Point) -> tuple[Float[Array, " k"], Float[Array, "k d"]]:
        """Half-spaces that stand for the domain as seen from `x`: its distances from their planes,
        positive inside, `(k,)`, and their unit normals, pointing outwards, `(k, d)`. Right to
        second order where `x` is near the boundary. Raises TypeError for a domain that has no
        formula for them."""
        raise TypeError(
            f"{type(self).__name__} has no formula for its boundary, which a crossing between "
            "steps needs. Known are Ball, Box, Ellipsoid, HalfSpaces, Sublevel, and Intersection "
            "of these."
        )


class Dynamics(Part):
    """A stochastic differential equation, in SDE time."""

    dim: eqx.AbstractVar[int]  # d, the length of the position
    driver: eqx.AbstractVar[Driver]
    epsilon: eqx.AbstractVar[Array]  # noise amplitude
    scale: eqx.AbstractVar[Scale]

    @abstractmethod
    def force(self, x: Point) -> Point:
        """What pulls the position back at `x`, shape `(d,)`: the gradient of the loss, or minus the
        drift of an equation that is given by its drift."""

    @abstractmethod
    def init(self, x0: Point) -> State:
        """The state of a trajectory that starts at `x0`, shape `(d,)`."""

    def settled(self, x: Point) -> State:
        """A state at `x` whose averages have their stationary values there; as `init` unless a
        class starts otherwise."""
        return self.init(x)

    def moving(self, x: Point) -> State:
        """A state at `x` whose averages are as large as the noise keeps them during a run: what a
        check of precision needs to know; as `settled` unless the noise enters an average."""
        return self.settled(x)

    @abstractmethod
    def step(self, state: State, dt: Scalar, increment: NoiseVector) -> State:
        """One explicit step over `dt` with the driver's increment over `dt` (Ito: coefficients
        before the jump)."""

    @abstractmethod
    def position(self, state: State) -> Point:
        """The position in `state`, shape `(d,)`."""

    @abstractmethod
    def move(self, state: State, x: Point) -> State:
        """`state` with its position put at `x`, everything else as it was."""

    @property
    @abstractmethod
    def attractor(self) -> Point:
        """The stable point of the noiseless flow. Raises ValueError where none is known."""

    @property
    def has_attractor(self) -> bool:
        """Whether a stable point is known."""
        return True

    @abstractmethod
    def jump(self, y: NoiseVector) -> Point:
        """How far a driver jump `y` at the attractor moves the position before the flow pulls back:
        `epsilon A y`, linear in `y`. With `response` "flow" it is approached only where the flow
        pulls back slowly."""

    @abstractmethod
    def linearisation(self) -> Float[Array, "d d"]:
        """`J` of the position's noiseless flow `dx = -J (x - attractor) dt` near the attractor,
        where averages follow fast."""

    @property
    def response(self) -> str:
        """How a jump `y` at the attractor decides an escape. "linear": the position moves by
        `jump(y)` at once. "map": it moves at once, but not linearly (one `step` with `dt = 0`).
        "flow": the noise enters an average, and the position keeps moving; the noiseless flow
        after the jump decides."""
        return "linear"

    @property
    def noise_dim(self) -> int:
        """Number of the driver's coordinates."""
        return self.scale.noise_dim(self.dim)


class Kernel(Part):
    """A method that advances one trajectory by one step: an integrator of an SDE, or an
    optimiser."""

    dim: eqx.AbstractVar[int]  # d, the length of the position
    unit: eqx.AbstractVar[str]  # of `elapsed`: "SDE time" or "iterations"

    @property
    @abstractmethod
    def words_per_step(self) -> int:
        """How many random words a step consumes."""

    @property
    @abstractmethod
    def words_per_init(self) -> int:
        """How many random words a start consumes, 0 for none."""

    @abstractmethod
    def init(self, x0: Point, words: Words) -> State:
        """The state of a trajectory that starts at `x0`, shape `(d,)`."""

    @abstractmethod
    def step(self, words: Words, state: State) -> State:
        """The state after one step, a pure function of its words."""

    @abstractmethod
    def position(self, state: State) -> Point:
        """The position in `state`, shape `(d,)`."""

    @abstractmethod
    def elapsed(self, state: Any, steps: Any) -> Any:
        """The clock after `steps` steps; numpy arrays with the lane axis last in, float64 out,
        shape `(lanes,)`."""

    @abstractmethod
    def steps_within(self, time: float) -> int:
        """The number of steps after which the clock has reached `time`."""

    @abstractmethod
    def noise_directions(self) -> Float[Array, "m d"]:
        """Directions in which the noise pushes, enough to see whether any of them leaves a
        domain."""

    def admits(self, x: Point) -> Truth:
        """Whether a trajectory may start at `x`; by default anywhere."""
        return jnp.ones((), bool)

    @property
    def exits_on_grid(self) -> bool:
        """Whether an exit between the times of two steps is missed; False for a kernel that notices
        it."""
        return True

    def settled(self, x: Point) -> State:
        """A state at `x` whose averages have their stationary values there."""
        return self.init(x, jnp.zeros(self.words_per_init, jnp.uint32))

    def noiseless(self, state: State) -> State | None:
        """The state after one step without noise, for a kernel that approximates a flow; None for
        one that does not, as an optimiser, whose steps are what is asked about however long they
        are."""
        return None

    def drift_step(self, x: Point) -> Point:
        """How far one step without noise moves the position from `x`, averages at rest; zeros where
        there is no such step."""
        after = self.noiseless(self.settled(x))
        return jnp.zeros_like(x) if after is None else self.position(after) - x


_UNROLLED = 64


def matvec(matrix: Float[Array, "m d"], vector: Float[Array, " d"]) -> Float[Array, " m"]:
    """`matrix @ vector` with the same bits in any number of lanes, which a library matmul does not
    have.

    Written out column by column up to 64 columns: under a vmap over lanes XLA lays a sum over the
    middle axis out lanes first, and is up to three times slower.
    """
    if matrix.shape[1] > _UNROLLED:
        return jnp.sum(matrix * vector[None, :], 1)
    total = matrix[:, 0] * vector[0]
    for j in range(1, matrix.shape[1]):
        total = total + matrix[:, j] * vector[j]
    return total
