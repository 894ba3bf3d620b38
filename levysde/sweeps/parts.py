"""Library objects by their names: `{ name = "Quadratic", hessian = ... }` is
`Quadratic(hessian=...)`.

Names and arguments are those of the Python API; `module:function` names a custom part. Required
arguments that are other parts (`landscape`, `driver`, `dynamics`, `domain`) are filled in if they
are not given, and the centre of a ball or an ellipsoid is the attractor. A drift or a scale may be
a function of the position: `drift = "module:function"`, or with keyword arguments
`drift = { name = "module:function", mu = 3.0 }`.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from pydantic import ConfigDict, create_model

from levysde import domains, dynamics, errors, kernels, landscapes, noise
from levysde.parts import Bound, as_module
from levysde.protocols import Domain, Driver, Dynamics, Kernel, Landscape
from levysde.sweeps.experiment import Model, imported, nearest
from levysde.sweeps.spec import SpecError, validated

ROLES: dict[str, tuple[type, tuple[Any, ...]]] = {
    "landscape": (Landscape, (landscapes,)),
    "driver": (Driver, (noise,)),
    "dynamics": (Dynamics, (dynamics,)),
    "domain": (Domain, (domains, kernels)),
    "kernel": (Kernel, (kernels,)),
}
_OF_POSITION = ("drift", "scale")  # arguments that may be functions of the position


class NamedPart(Model):
    """A library object: its name and its arguments."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False, strict=True)

    name: str

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


def build(role: str, part: NamedPart, known: dict[str, Any]) -> Any:
    """Make the object of a role; missing parts are taken from `known`. Raises SpecError with the
    path of the fault."""
    made = _made(f"run.{role}", role, part.name, part.arguments, known)
    if not isinstance(made, ROLES[role][0]):
        raise SpecError(
            f"run.{role}.name: {part.name!r} is no {role}.{nearest(part.name, _names(role))}"
        )
    return made


def _made(
    where: str, role: str | None, name: str, arguments: dict[str, Any], known: dict[str, Any]
) -> Any:
    maker = _maker(where, role, name)
    validated(_signature(maker), arguments, tuple(where.split(".")))
    given = {}
    for key, value in arguments.items():
        given[key] = _argument(f"{where}.{key}", key, value, known)
    positional = []
    for key, parameter in inspect.signature(maker).parameters.items():
        needed = parameter.default is inspect.Parameter.empty and key not in given
        if needed and key in known:
            given[key] = known[key]
        elif needed and key == "center" and has_attractor(known):
            given[key] = known["dynamics"].attractor
        elif needed:
            place = f"run.{key}" if key in ROLES else f"{where}.{key}"
            raise SpecError(f"{place}: {name} needs this field.")
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            positional.append(given.pop(key))
    try:
        with np.errstate(over="ignore"):  # a number beyond the float range is refused as not finite
            return maker(*positional, **{key: _value(value) for key, value in given.items()})
    except (ValueError, TypeError, ImportError) as error:
        raise SpecError(f"{where}: {error}") from None


def has_attractor(known: dict[str, Any]) -> bool:
    """Whether the dynamics has been made and knows its attractor."""
    return "dynamics" in known and known["dynamics"].has_attractor


def _argument(where: str, key: str, value: Any, known: dict[str, Any]) -> Any:
    """An argument of a part: a table with a name is a part, or a function of the position."""
    if key in _OF_POSITION and isinstance(value, str):
        return _imported(where, value)
    if not isinstance(value, dict) or "name" not in value:
        return value
    name, rest = str(value["name"]), {k: v for k, v in value.items() if k != "name"}
    if key in _OF_POSITION and ":" in name:
        fn = _imported(f"{where}.name", name)
        first = next(iter(inspect.signature(fn).parameters.values()), None)
        if (
            not inspect.isclass(fn)
            and first is not None
            and first.default is inspect.Parameter.empty
            and first.name not in rest | known
        ):
            return _bound(where, name, fn, rest, known)
    return _made(where, None, name, rest, known)


def _bound(
    where: str, name: str, fn: Callable[..., Any], arguments: dict[str, Any], known: dict[str, Any]
) -> Bound:
    """A function of the position with its other arguments. Those that have no default must be
    given."""
    validated(_signature(fn), arguments, tuple(where.split(".")))
    for key, parameter in list(inspect.signature(fn).parameters.items())[1:]:
        if parameter.default is inspect.Parameter.empty and key not in arguments:
            raise SpecError(f"{where}.{key}: {name} needs this field.")
    numbers, constants = {}, {}
    for key, value in arguments.items():
        value = _value(_argument(f"{where}.{key}", key, value, known))
        if isinstance(value, float | np.ndarray):
            try:
                numbers[key] = errors.finite(key, value, f"{key} = 1.0")
            except (ValueError, TypeError) as error:
                raise SpecError(f"{where}: {error}") from None
        else:
            (constants if isinstance(value, int | str | tuple) else numbers)[key] = value
    return Bound(as_module(fn), numbers, tuple(constants.items()))


def _value(value: Any) -> Any:
    """Lists of numbers as arrays; other lists as tuples."""
    if not isinstance(value, list):
        return value
    try:
        array = np.asarray(value)
        return array if array.dtype.kind in "fiub" else tuple(value)
    except ValueError:  # ragged
        return tuple(value)


def _maker(where: str, role: str | None, name: str) -> Callable[..., Any]:
    if ":" in name:
        return _imported(f"{where}.name", name)
    maker = _known(name)
    if maker is None or not _fits(role, name, maker):
        fault = (
            f"there is no {role or 'part'} {name!r}" if maker is None else f"{name!r} is no {role}"
        )
        raise SpecError(f"{where}.name: {fault}.{nearest(name, _names(role))}")
    return maker


def _imported(where: str, name: str) -> Callable[..., Any]:
    """The function or class that `module:name` names."""
    if ":" not in name:
        raise SpecError(
            f'{where}: {name!r} is not of the form "module:function". For example '
            '"my_drifts:drift", with my_drifts.py next to the specification.'
        )
    try:
        found = imported(name)
    except ValueError as error:
        raise SpecError(f"{where}: {error}") from None
    if not callable(found):
        raise SpecError(f"{where}: {name!r} is {type(found).__name__}, not a function or class.")
    return found


_MODULES = (landscapes, noise, domains, dynamics, kernels)


@functools.cache
def _known(name: str) -> Callable[..., Any] | None:
    """The public class or function of this name that makes a part from plain arguments, or None."""
    for module in _MODULES:
        if not name.startswith("_") and name in dir(module):
            item = getattr(module, name)
            if callable(item) and _takes_plain_arguments(item):
                return item
    return None


def _takes_plain_arguments(item: Callable[..., Any]) -> bool:
    """Whether all arguments are checked ones (`Arg`), as those of public parts are, and none is
    `*parts`."""
    return not inspect.isabstract(item) and all(
        parameter.annotation is Any and parameter.kind is not inspect.Parameter.VAR_POSITIONAL
        for parameter in inspect.signature(item).parameters.values()
    )


@functools.cache
def _names(role: str | None) -> tuple[str, ...]:
    """The names of parts that fit a role."""
    makers = {name: _known(name) for module in _MODULES for name in dir(module)}
    return tuple(
        name for name, maker in makers.items() if maker is not None and _fits(role, name, maker)
    )


def _fits(role: str | None, name: str, maker: Callable[..., Any]) -> bool:
    if role is None:
        return True
    kind, modules = ROLES[role]
    result = maker if inspect.isclass(maker) else inspect.signature(maker).return_annotation
    return (
        inspect.isclass(result)
        and issubclass(result, kind)
        and any(name in dir(module) for module in modules)
    )


@functools.cache
def _signature(maker: Callable[..., Any]) -> type[Model]:
    """A model of the arguments of `maker`, which refuses unknown ones."""
    fields: dict[str, Any] = {key: (Any, None) for key in inspect.signature(maker).parameters}
    return create_model(maker.__name__, __base__=Model, **fields)
