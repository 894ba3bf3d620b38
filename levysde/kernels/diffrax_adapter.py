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
from levysde.kernels.diffrax_terms import EXAMPLE, DiffraxSDE, dynamics_of
from levysde.kernels.euler import FixedStep, first_order
from levysde.noise import STATE_FREE, Brownian, DiagonalScale, ScalarScale, StateScale
from levysde.protocols import Dynamics, Point, State, Words, matvec
from levysde.random import normals
from levysde.types import Arg, Integer, Number, Numbers

_AREAS = (BrownianIncrement, SpaceTimeLevyArea, SpaceTimeTimeLevyArea)
_VARIANCES = (1.0, 1 / 12, 1 / 720)  # of W, H, K over h
_EXAMPLE = "DiffraxKernel(Langevin(well, diffusion=0.1), diffrax.Heun(), dt=0.01)"


class DiffraxKernel(FixedStep):
    """Steps an equation of first order under Gaussian noise by a solver of diffrax.

    The equation is one of this package, or diffrax's own terms, as `diffrax.diffeqsolve` takes
    them. Of the control only the shape is used: the noise is that of the engine, made from the
    random bits of (seed, trajectory, step). `diffrax.Euler` makes the same paths as
    `EulerMaruyama`, up to rounding, since both need the same bits.

    The strong and weak orders are the solver's; for noise that does not depend on the position
    `ShARK` and `SRA1` have strong order 1.5 and `Heun` weak order 2.

    With terms, f and g may read the time t, which is 0 at the start of each trajectory. If neither
    does, the attribute `dynamics` is an `SDE` (for a Stratonovich solver only if g does not read
    the position), to which laws and `exact_exit` apply.

    Args:
        terms: `SGD` or `SDE` with `Brownian` noise, or `Langevin`; or
            `diffrax.MultiTerm(diffrax.ODETerm(f), diffrax.ControlTerm(g, control))`, with functions
            `f(t, y, args)` and `g(t, y, args)` of a vector y of shape `(d,)`, and a Brownian path
            of diffrax of shape `(m,)` or `()`. g returns a matrix of shape `(d, m)`, a linear
            operator of lineax, `(d,)` for a control of shape `()`, or `(d,)` for one of shape
            `(d,)`, which is then a diagonal (and which diffrax refuses).
        solver: an explicit diffrax solver for SDEs, as `diffrax.Heun()`. Terms are read as Ito by
            an Ito solver (`Euler`, `ItoMilstein`), else as Stratonovich. For dynamics of this
            package whose scale depends on the position: an Ito solver where it is read as Ito; a
            Stratonovich solver where it is read as Marcus, which for Brownian noise is
            Stratonovich.
        dt: the step, positive, in SDE time.
        dim: d, the length of y; needed with diffrax's terms.
        args: what f and g get as their third argument, with diffrax's terms. Another array of the
            same shape compiles nothing anew.
        attractor: a stable point of the drift, shape `(d,)`, as for `SDE`; only with diffrax's
            terms that do not read t.

    Raises:
        TypeError: other drivers (Lévy noise has no Brownian path), other dynamics or terms, a field
            that fails or returns another shape, a control that is no Brownian path, or a solver
            that is no explicit SDE solver for them.
        ValueError: a bad `dt` or attractor, a solver of the other convention, NaN in `args`, `dim`,
            `args` or `attractor` beside dynamics that are no terms.

    Source:
        Kidger, "On neural differential equations", PhD thesis, Oxford 2021 (diffrax); the areas
        Foster, PhD thesis, Oxford 2020, section 4.2.
    """

    # diffrax.AbstractSolver; a class with a metaclass that checkers of types do not follow
    solver: Any
    dynamics: FirstOrder | DiffraxSDE
    dt: Array
    level: int = eqx.field(static=True)  # of _AREAS

    def __init__(
        self,
        terms: Arg[Dynamics | diffrax.MultiTerm],
        solver: Arg[diffrax.AbstractSolver],
        *,
        dt: Arg[Number],
        dim: Arg[Integer | None] = None,
        args: Arg[Any] = None,
        attractor: Arg[Numbers | None] = None,
    ):
        if isinstance(terms, diffrax.MultiTerm):
            self.solver, ito = _checked_solver(solver)
            self.dynamics = dynamics_of(terms, ito=ito, dim=dim, args=args, attractor=attractor)
        else:
            self.dynamics = _gaussian(terms)
            for name, value in {"dim": dim, "args": args, "attractor": attractor}.items():
                if value is not None:
                    raise ValueError(
                        f"{name} = {errors.shown(value)} belongs to diffrax's terms, and "
                        f"{type(terms).__name__} has its own. Leave {name} out."
                    )
            self.solver, ito = _checked_solver(solver)
            _check_convention(solver, ito, self.dynamics)
        self.dt = errors.positive("dt", dt, "dt=0.01")
        least = getattr(self.solver, "minimal_levy_area", AbstractBrownianIncrement)
        self.level = next(i for i, area in enumerate(_AREAS) if issubclass(area, least))
        _check_runs(self)

    def _arguments(self) -> dict[str, Any]:
        return {"terms": self.dynamics, "solver": self.solver, "dt": self.dt}

    @property
    def words_per_step(self) -> int:
        return (self.level + 1) * self._words

    @property
    def _words(self) -> int:
        return self.dynamics.driver.words_per_step(self.dynamics.noise_dim)

    def init(self, x0: Point, words: Words) -> State:
        still = [jnp.zeros(self.dynamics.noise_dim, x0.dtype)] * (self.level + 1)
        start = jnp.zeros_like(self.dt)
        moving = self.dynamics, jnp.zeros_like(x0), start
        own = self.solver.init(self._terms(still, start), start, self.dt, x0, moving)
        timed = isinstance(self.dynamics, DiffraxSDE) and self.dynamics.reads_time
        count = jnp.zeros((), jnp.uint32) if timed else None
        return x0, jax.tree.map(jnp.asarray, own), count

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
        so that all parts of the step are summed before x is added; but x itself if the solver keeps
        positions of its own. It steps from time 0, so that the length of a step is not rounded to
        the spacing of late times."""
        x, own, count = state
        start, jumped = jnp.zeros_like(self.dt), jnp.zeros((), bool)
        terms, still = self._terms(noise, start), jnp.zeros_like(x)
        time = start if count is None else count.astype(self.dt.dtype) * self.dt
        origin, y = (still, x) if jax.tree.leaves(own) else (x, still)
        moving = self.dynamics, origin, time
        new, _, _, after, _ = self.solver.step(terms, start, self.dt, y, moving, own, jumped)
        own = jax.tree.map(lambda leaf, old: jnp.asarray(leaf, old.dtype), after, own)
        return origin + new, own, None if count is None else count + jnp.uint32(1)

    def _terms(self, noise: list[Array], start: Array) -> diffrax.MultiTerm:
        increment = _AREAS[self.level](self.dt, *noise)
        return diffrax.MultiTerm(diffrax.ODETerm(_drift), _Noise(start, increment))


_Moving = tuple[FirstOrder | DiffraxSDE, Point, Array]  # the equation, and where and when it is


def _at(t: Any, moved: Point, moving: _Moving) -> tuple[FirstOrder, Point]:
    """The equation at the solver's time t of the step, and the position."""
    flow, x, time = moving
    return flow.at(time + t) if isinstance(flow, DiffraxSDE) else flow, x + moved


def _drift(t: Any, moved: Point, args: _Moving) -> Point:
    flow, x = _at(t, moved, args)
    return -flow.force(x)


class _Noise(diffrax.AbstractTerm):
    """`epsilon S(x) dW` over one known step: a diagonal, or a matrix in products whose bits do not
    depend on the number of lanes."""

    start: Array
    increment: AbstractBrownianIncrement

    def vf(self, t: Any, y: Point, args: _Moving) -> Array:
        flow, x = _at(t, y, args)
        scale, size = flow.scale, flow.noise_dim
        if isinstance(scale, StateScale):
            factor = jnp.asarray(scale.fn(x))
            return flow.epsilon * (factor if factor.ndim else jnp.broadcast_to(factor, x.shape))
        if isinstance(scale, ScalarScale | DiagonalScale):
            return flow.epsilon * scale.apply(jnp.ones(size, x.dtype), x)
        return flow.epsilon * jax.vmap(scale.apply, (0, None), 1)(jnp.eye(size, dtype=x.dtype), x)

    def contr(self, t0: Any, t1: Any, use_levy: bool = False) -> Any:
        if t0 is not self.start or t1 is not self.increment.dt:
            raise TypeError("the solver asks for the noise of a part of its step")
        return self.increment if use_levy else self.increment.W

    def prod(self, vf: Array, control: Array) -> Point:
        return vf * control if vf.ndim == 1 else matvec(vf, control)


def _gaussian(dynamics: Arg[Dynamics]) -> FirstOrder:
    if not isinstance(dynamics, Dynamics):
        raise TypeError(
            "terms must be SGD, Langevin or SDE, or diffrax.MultiTerm of one ODETerm and one "
            f"ControlTerm, not {errors.shown(dynamics)}. For example {_EXAMPLE}, or {EXAMPLE}."
        )
    flow = first_order("DiffraxKernel", dynamics)
    if not isinstance(flow.driver, Brownian):
        raise TypeError(
            "diffrax's SDE solvers are made for Brownian motion, and "
            f"{type(flow.driver).__name__} noise has no Brownian path. Type "
            "EulerMaruyama(dynamics, dt=1e-3) instead."
        )
    return flow


def _checked_solver(solver: Arg[diffrax.AbstractSolver]) -> tuple[Any, bool]:
    """The solver, and whether it is one of Ito equations, else of Stratonovich's."""
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
            f"{name} is no solver for dX = f dt + g dW: diffrax says of it neither Ito nor "
            f"Stratonovich, or it is made for other equations. For example {_EXAMPLE}."
        )
    return solver, ito


def _check_convention(solver: Any, ito: bool, flow: FirstOrder) -> None:
    read = getattr(flow, "convention", "ito")
    if not isinstance(flow.scale, STATE_FREE) and (read == "ito") != ito:
        raise ValueError(
            f"{type(solver).__name__} solves the {'Ito' if ito else 'Stratonovich'} equation, but "
            "the scale depends on the position and the "
            f'dynamics read it as {read}. Type SGD(..., convention="{"ito" if ito else "marcus"}") '
            f"or take {'diffrax.Heun()' if ito else 'diffrax.ItoMilstein()'}; Marcus is "
            "Stratonovich for Brownian noise."
        )


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
