"""Diffrax's SDE solvers as kernels: one solver step a kernel step, its Brownian increments made
from the engine's words.

For a step of length h (Foster, PhD thesis, Oxford 2020, section 4.2; Jelinčič, Foster, Kidger,
arXiv 2405.06464):

    W = integral dW_s                                  N(0, h)      increment
    H = integral (1/2 - s/h) dW_s                      N(0, h/12)   space-time Lévy area
    K = integral (1/12 - s/(2h) + s^2/(2h^2)) dW_s     N(0, h/720)  space-time-time Lévy area

which are independent. (These "Lévy areas" belong to Brownian motion; Lévy noise with jumps has no
such solvers.) This module is imported on first use of its name: diffrax is slow to import.
"""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from diffrax import (
    AbstractBrownianIncrement,
    BrownianIncrement,
    SpaceTimeLevyArea,
    SpaceTimeTimeLevyArea,
)
from jaxtyping import Array

from levysde import errors
from levysde.dynamics import FirstOrder
from levysde.kernels.euler import FixedStep, first_order
from levysde.noise import STATE_FREE, Brownian, DiagonalScale, ScalarScale, StateScale
from levysde.protocols import Dynamics, Point, State, Words, matvec
from levysde.random import normals
from levysde.types import Arg, Number

_AREAS = (BrownianIncrement, SpaceTimeLevyArea, SpaceTimeTimeLevyArea)
_VARIANCES = (1.0, 1 / 12, 1 / 720)  # of W, H, K over h
_EXAMPLE = "DiffraxKernel(diffrax.Heun(), Langevin(well, diffusion=0.1), dt=0.01)"


class DiffraxKernel(FixedStep):
    """Steps an equation of first order under Gaussian noise by a solver of diffrax.

    The strong and weak orders are the solver's; for noise that does not depend on the position
    `ShARK` and `SRA1` have strong order 1.5 and `Heun` weak order 2. The noise is that of the
    engine: `diffrax.Euler` makes the same paths as `EulerMaruyama`, up to rounding, since both need
    the same words.

    Args:
        solver: an explicit diffrax solver for SDEs, as `diffrax.Heun()`. An Ito solver (`Euler`,
            `ItoMilstein`) where the scale depends on the position and is read as Ito; a
            Stratonovich solver where it is read as Marcus, which for Brownian noise is
            Stratonovich; either where it does not depend on the position.
        dynamics: `SGD` or `SDE` with `Brownian` noise, or `Langevin`.
        dt: the step, positive, in SDE time.

    Raises:
        TypeError: other drivers (Lévy noise has no Brownian path), other dynamics, or a solver that
            is no explicit SDE solver for them.
        ValueError: a bad `dt`, or a solver of the other convention.

    Source:
        Kidger, "On neural differential equations", PhD thesis, Oxford 2021 (diffrax); the areas
        Foster, PhD thesis, Oxford 2020, section 4.2.
    """

    # diffrax.AbstractSolver; a class with a metaclass that checkers of types do not follow
    solver: Any
    dynamics: FirstOrder
    dt: Array
    level: int = eqx.field(static=True)  # of _AREAS

    def __init__(
        self, solver: Arg[diffrax.AbstractSolver], dynamics: Arg[Dynamics], dt: Arg[Number]
    ):
        self.dynamics = first_order("DiffraxKernel", dynamics)
        if not isinstance(self.dynamics.driver, Brownian):
            raise TypeError(
                "diffrax's SDE solvers are made for Brownian motion, and "
                f"{type(self.dynamics.driver).__name__} noise has no Brownian path. Type "
                "EulerMaruyama(dynamics, dt=1e-3) instead."
            )
        self.solver = _checked_solver(solver, self.dynamics)
        self.dt = errors.positive("dt", dt, "dt=0.01")
        least = getattr(self.solver, "minimal_levy_area", AbstractBrownianIncrement)
        self.level = next(i for i, area in enumerate(_AREAS) if issubclass(area, least))
        _check_runs(self)

    @property
    def words_per_step(self) -> int:
        return (self.level + 1) * self._words

    @property
    def _words(self) -> int:
        return self.dynamics.driver.words_per_step(self.dynamics.noise_dim)

    def init(self, x0: Point, words: Words) -> State:
        still = [jnp.zeros(self.dynamics.noise_dim, x0.dtype)] * (self.level + 1)
        start = jnp.zeros_like(self.dt)
        own = self.solver.init(
            self._terms(still, start), start, self.dt, jnp.zeros_like(x0), (self.dynamics, x0)
        )
        return x0, jax.tree.map(jnp.asarray, own)

    def settled(self, x: Point) -> State:
        return self.init(x, jnp.zeros(self.words_per_init, jnp.uint32))

    @property
    def still(self) -> list[Array]:
        return [jnp.zeros(self.dynamics.noise_dim, self.dt.dtype)] * (self.level + 1)

    def position(self, state: State) -> Point:
        return state[0]

    def noise(self, words: Words) -> list[Array]:
        """W, and H and K where the solver asks for them, each `(noise_dim,)`, functions of their
        words."""
        size = self.dynamics.noise_dim
        parts = [words[i * self._words : (i + 1) * self._words] for i in range(self.level + 1)]
        areas = [
            jnp.sqrt(self.dt * variance) * normals(part, size, self.dt.dtype)
            for part, variance in zip(parts[1:], _VARIANCES[1:], strict=False)
        ]
        return [self.dynamics.driver.increment(parts[0], size, self.dt), *areas]

    def advance(self, noise: list[Array], state: State) -> State:
        """The solver's step with these W, H and K. It steps the displacement from x, not x itself,
        so that all parts of the step are summed before x is added."""
        x, own = state
        start, jumped = jnp.zeros_like(self.dt), jnp.zeros((), bool)
        terms = self._terms(noise, start)
        moving = self.dynamics, x
        moved, _, _, after, _ = self.solver.step(
            terms, start, self.dt, jnp.zeros_like(x), moving, own, jumped
        )
        return x + moved, jax.tree.map(lambda leaf, old: jnp.asarray(leaf, old.dtype), after, own)

    def _terms(self, noise: list[Array], start: Array) -> diffrax.MultiTerm:
        increment = _AREAS[self.level](self.dt, *noise)
        return diffrax.MultiTerm(diffrax.ODETerm(_drift), _Noise(start, increment))


def _drift(t: Any, moved: Point, args: tuple[FirstOrder, Point]) -> Point:
    flow, x = args
    return -flow.force(x + moved)


class _Noise(diffrax.AbstractTerm):
    """`epsilon S(x) dW` over one known step: a diagonal, or a matrix in products whose bits do not
    depend on the number of lanes."""

    start: Array
    increment: AbstractBrownianIncrement

    def vf(self, t: Any, y: Point, args: tuple[FirstOrder, Point]) -> Array:
        flow, x = args
        scale, size, at = flow.scale, flow.noise_dim, x + y
        if _is_diagonal(scale, at):
            return flow.epsilon * scale.apply(jnp.ones(size, at.dtype), at)
        return flow.epsilon * jax.vmap(scale.apply, (0, None), 1)(jnp.eye(size, dtype=at.dtype), at)

    def contr(self, t0: Any, t1: Any, use_levy: bool = False) -> Any:
        if t0 is not self.start or t1 is not self.increment.dt:
            raise TypeError("the solver asks for the noise of a part of its step")
        return self.increment if use_levy else self.increment.W

    def prod(self, vf: Array, control: Array) -> Point:
        return vf * control if vf.ndim == 1 else matvec(vf, control)


def _is_diagonal(scale: Any, x: Point) -> bool:
    if isinstance(scale, StateScale):
        return jax.eval_shape(scale.fn, x).ndim < 2
    return isinstance(scale, ScalarScale | DiagonalScale)


def _checked_solver(solver: Arg[diffrax.AbstractSolver], flow: FirstOrder) -> Any:
    errors.instance("solver", solver, diffrax.AbstractSolver, _EXAMPLE)
    name = type(solver).__name__
    if isinstance(solver, diffrax.AbstractImplicitSolver):
        raise TypeError(f"{name} is implicit, which is not supported. For example {_EXAMPLE}.")
    ito, stratonovich = (
        isinstance(solver, kind)
        for kind in (diffrax.AbstractItoSolver, diffrax.AbstractStratonovichSolver)
    )
    if isinstance(solver, diffrax.AbstractFosterLangevinSRK) or not (ito or stratonovich):
        raise TypeError(
            f"{name} is no solver for dx = -grad F dt + epsilon S dW: diffrax says of it neither "
            "Ito nor Stratonovich, or it is made for other equations. For example "
            f"{_EXAMPLE}."
        )
    if isinstance(flow.scale, STATE_FREE):
        return solver
    read = getattr(flow, "convention", "ito")
    if (read == "ito") != ito:
        raise ValueError(
            f"{name} solves the {'Ito' if ito else 'Stratonovich'} equation, but the scale depends "
            "on the position and the "
            f'dynamics read it as {read}. Type SGD(..., convention="{"ito" if ito else "marcus"}") '
            f"or take {'diffrax.Heun()' if ito else 'diffrax.ItoMilstein()'}; Marcus is "
            "Stratonovich for Brownian noise."
        )
    return solver


def _check_runs(kernel: DiffraxKernel) -> None:
    """Traces a step, so that a solver that cannot make one is refused here."""
    name, x = type(kernel.solver).__name__, jnp.zeros(kernel.dim)
    words = jnp.zeros(kernel.words_per_step, jnp.uint32)

    def run(x: Point, words: Words) -> tuple[State, State]:
        state = kernel.init(x, words)
        return state, kernel.step(words, state)

    try:
        before, after = jax.eval_shape(run, x, words)
    except Exception as error:
        raise TypeError(
            f"{name} cannot step this equation: {error}. For example {_EXAMPLE}."
        ) from None
    if jax.tree.map(np.shape, before) != jax.tree.map(np.shape, after):
        raise TypeError(
            f"{name} changes the shape of its state from step to step. For example {_EXAMPLE}."
        )
