"""Any first-order equation: a drift, a driver and a scale, without a loss."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.dynamics.gradient import FirstOrder, check_arrays
from levysde.noise import as_scale
from levysde.parts import as_module, traced
from levysde.protocols import Driver, Point, Scale
from levysde.types import Arg, Integer, Number, Numbers

_CLOSE = 1e-3  # how far the drift's zero may be from each coordinate of the attractor, as a share
_NEWTON = 10  # steps to it
_UNSTABLE = 1e-5  # growth rate of a deviation, as a share of the largest rate, that is rounding


class SDE(FirstOrder):
    """`dX = b(X) dt + epsilon S(X) dL` for any drift b, which need not be a gradient.

    Args:
        drift: b, a function of the position `(d,)` that returns `(d,)`, written with jax.numpy: a
            plain function, or an `equinox.Module`, whose numbers may then be swept without
            compiling anew.
        driver: the law of L.
        dim: d, the number of coordinates.
        scale: S: a number, `(d,)`, `(d, d)`, a function of the position, or a `Scale`; the identity
            by default. One that depends on the position is read as Ito: S is taken before the jump.
        epsilon: noise amplitude, positive.
        attractor: a stable point of `dx/dt = b(x)`, shape `(d,)`, or None. Escape laws need it, and
            the checks of step and precision before a run look there. Each coordinate may be
            rounded to three digits: the zero of b next to it is taken.

    Raises:
        ValueError, TypeError: a drift that fails, returns another shape or complex numbers, or is
            not finite at the attractor; an attractor at which the drift is not zero, or from which
            deviations grow; an amplitude out of range, a bad scale.

    Source:
        Elementary.
    """

    drift: Callable
    driver: Driver
    epsilon: Array
    scale: Scale
    dim: int = eqx.field(static=True)
    _attractor: Array | None

    def __init__(
        self,
        drift: Arg[Callable[[Array], Array]],
        driver: Arg[Driver],
        *,
        dim: Arg[Integer],
        scale: Arg[Scale | Numbers | Callable[[Array], Array] | None] = None,
        epsilon: Arg[Number] = 1.0,
        attractor: Arg[Numbers | None] = None,
    ):
        self.dim = errors.integer("dim", dim)
        self.drift = as_module(errors.function("drift", drift))
        check_arrays(self.drift)
        errors.instance("driver", driver, Driver, "StableComponents(alpha=1.5)")
        x = jax.ShapeDtypeStruct((self.dim,), jnp.result_type(float))
        what = f"a real array of shape ({self.dim},) for x of that shape"
        example = f"lambda x: -x, with dim={self.dim} the length of x"
        errors.outcome(
            "drift(x)", traced(self.drift), x, example=example, shape=(self.dim,), what=what
        )
        self.driver = driver
        self.epsilon = errors.positive("epsilon", epsilon)
        self.scale = as_scale(scale, self.dim)
        self._attractor = None
        if attractor is not None:
            example = f"attractor=jnp.zeros({self.dim})"
            place = errors.finite("attractor", attractor, example, (self.dim,))
            self._attractor = self._zero(place)

    def _zero(self, place: Array) -> Array:
        """The zero of the drift next to `place`, or a ValueError; where JAX traces one of the two,
        `place` as it is."""
        if any(map(errors.is_traced, (place, self.drift(place)))):
            return place
        z = np.asarray(place, np.float64)
        rounding = 8 * float(jnp.finfo(place.dtype).eps) * np.abs(z).max()
        value, slope, step = self._newton(z, place.dtype)
        for _ in range(_NEWTON):
            z = z - step
            if (np.abs(step) <= rounding).all():
                break
            value, slope, step = self._newton(z, place.dtype)
        moved = np.abs(z - np.asarray(place, np.float64))
        noise = 64 * float(jnp.finfo(place.dtype).eps) * np.abs(slope).max() * np.abs(z).max()
        lost = np.abs(slope @ step - value).max() > 1e-3 * np.abs(value).max() + noise
        if (
            lost
            or (np.abs(step) > rounding).any()
            or (moved > _CLOSE * np.abs(np.asarray(place)) + rounding).any()
        ):
            near = "" if lost or not np.isfinite(z).all() else f", and vanishes near {z}"
            raise ValueError(
                f"the drift is {np.asarray(self.drift(place))} at the attractor "
                f"{np.asarray(place)}, not zero{near}. Give the point where it vanishes, or leave "
                "attractor out."
            )
        self._check_stable(z, slope, place.dtype)
        return jnp.asarray(z, place.dtype)

    def _newton(self, z: np.ndarray, dtype: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Drift, its derivative and Newton's step at `z`. Raises where one is not finite."""
        at = jnp.asarray(z, dtype)
        value = np.asarray(self.drift(at), np.float64)
        slope = np.asarray(jax.jacfwd(self.drift)(at), np.float64)
        if not (np.isfinite(value).all() and np.isfinite(slope).all()):
            raise ValueError(
                f"at the attractor {z} the drift is {value}, its derivative {slope.tolist()}: "
                "both must be finite. Change the drift there, or leave attractor out."
            )
        return value, slope, np.linalg.lstsq(slope, value, rcond=None)[0]

    def _check_stable(self, z: np.ndarray, slope: np.ndarray, dtype: Any) -> None:
        """Raises ValueError where a small deviation grows: by the derivative, or beyond it where
        that is zero along a direction."""
        rates, ways = np.linalg.eig(slope)
        largest, fastest = np.abs(rates).max(), np.real(rates).max()
        grows = fastest > _UNSTABLE * largest
        size = _CLOSE * (np.abs(z).max() or 1.0)
        for way in np.real(ways[:, np.abs(rates) <= _UNSTABLE * largest]).T:
            for side in (-size, size):
                push = np.asarray(self.drift(jnp.asarray(z + side * way, dtype)), np.float64)
                grows |= side * push @ way > _UNSTABLE * largest * size**2
        if grows:
            raise ValueError(
                f"a deviation from the attractor {z} grows without noise"
                f"{f' at the rate {fastest:.3g}' if fastest > 0 else ''}, so it is not stable. "
                "Give a stable point, or leave attractor out."
            )

    def _arguments(self) -> dict[str, Any]:
        names = ("drift", "driver", "dim", "scale", "epsilon")
        return {name: getattr(self, name) for name in names} | {"attractor": self._attractor}

    @property
    def has_attractor(self) -> bool:
        return self._attractor is not None

    @property
    def attractor(self) -> Point:
        if self._attractor is None:
            raise ValueError(
                "this SDE was given no attractor, which is needed here. Type SDE(drift, driver, "
                f"dim={self.dim}, attractor=...) with a stable point of the drift."
            )
        return self._attractor

    def force(self, x: Point) -> Point:
        return -jnp.asarray(self.drift(x))

    def linearisation(self) -> Float[Array, "d d"]:
        return jax.jacfwd(self.force)(self.attractor)
