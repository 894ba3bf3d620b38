"""Wrong argument names answered with the right ones, for every public class and function by one
mechanism.

Each folder ends with `answer_wrong_calls(globals())`. A call that does not fit its signature then
says which argument is wrong and which one was meant. Calls that fit cost nothing more.
"""

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from difflib import get_close_matches
from types import FunctionType
from typing import Any, TypeVar

# names that mean the same thing; the first that a callable has is the one meant
_SYNONYMS = (
    # names of version 0.1.0
    ("forgetting_rate", "rate"),
    ("noise_in", "noise"),
    ("stable_noise", "noise"),
    ("label_noise", "noise"),
    ("gradient_covariance", "noise"),
    ("exact_sampler", "exact"),
    ("equation_order", "order"),
    ("degree", "order"),
    ("hessian_factor", "sharpness"),
    ("sharp_curvature", "sharpness"),
    ("loss_factor", "height"),
    ("distance", "width"),
    ("distances", "widths"),
    ("words_per_jump", "words"),
    ("margin", "delta"),
    ("std", "scale"),
    ("smallest_jump", "scale"),
    ("num_rows", "size"),
    ("num_values", "size"),
    ("checkpoint_every", "every"),
    ("duration", "time"),
    ("statistic", "value"),
    ("low_rank_factor", "factor"),
    ("flat_curvature", "flatness"),
    ("fraction", "share"),
    ("axis", "x"),
    ("quantity", "y"),
    ("amount", "units"),
    ("outcome", "measured"),
    ("verdict_words", "words"),
    ("deviation", "margin"),
    ("tables", "data"),
    # other libraries and papers
    ("learning_rate", "lr", "eta", "step_size", "stepsize", "rate", "gamma"),
    ("driver", "noise", "levy", "process"),
    ("seed", "key", "rng", "random_state", "prng", "rng_key"),
    (
        "num",
        "n",
        "n_samples",
        "num_samples",
        "samples",
        "size",
        "count",
        "runs",
        "trajectories",
        "num_trajectories",
    ),
    ("epsilon", "eps", "sigma", "noise_level", "amplitude", "temperature"),
    ("alpha", "index", "tail_index", "stability"),
    ("batch_size", "batch", "bs", "b", "minibatch"),
    ("weight_decay", "wd", "l2"),
    ("max_time", "t_max", "tmax", "t_end", "t1", "T", "time", "horizon", "t"),
    ("max_steps", "steps", "n_steps", "num_steps", "iterations", "max_iter"),
    ("dt", "h", "step", "delta_t", "time_step", "step_size"),
    ("radius", "r", "R"),
    ("center", "centre", "origin", "middle", "mean"),
    ("lower", "low", "min", "a"),
    ("upper", "high", "max", "b"),
    ("height", "level", "barrier", "basin_height"),
    ("landscape", "loss", "potential", "f", "F", "function", "model", "objective"),
    ("fn", "f", "function", "loss", "potential"),
    ("hessian", "H", "hess", "curvature", "matrix"),
    ("minimum", "x0", "start", "xmin"),
    ("x0", "start", "init", "initial", "x_init", "x"),
    ("domain", "basin", "region", "set"),
    ("kernel", "integrator", "stepper", "solver", "dynamics"),
    ("dynamics", "sde", "equation", "process"),
    ("terms", "dynamics", "sde", "equation"),
    ("transformation", "optimizer", "optimiser", "optim"),
    ("optimizer", "optimiser", "transformation"),
    ("hyperparameters", "params", "options", "kwargs"),
    ("dim", "d", "ndim", "dimension", "dimensions"),
    ("confidence", "level", "conf", "ci"),
    ("tolerance", "tol", "rtol", "atol"),
    ("momentum", "beta", "mu"),
    ("friction", "gamma", "damping"),
    ("skewness", "beta", "skew"),
    ("betas", "beta1", "beta2", "b1", "b2"),
    ("delta", "eps", "epsilon"),
)
_LINE = 100  # characters of the arguments in a message
_Any = TypeVar("_Any", bound=Callable)


def answer_wrong_calls(names: dict[str, Any], **late: str) -> None:
    """Lets every public class and function of a folder answer a call that does not fit its
    signature.

    Args:
        names: the folder's `globals()`; what its `__init__` took from its own files is replaced
            there and in these files.
        late: public names that are imported on first use, each with its file.
    """
    room = names["__name__"]
    for name, value in list(names.items()):
        if name.startswith("_") or not getattr(value, "__module__", "").startswith(f"{room}."):
            continue
        if isinstance(value, FunctionType) and value.__name__ == name:
            names[name] = answering(value, name)
            # the same object, or it could not be pickled
            setattr(sys.modules[value.__module__], name, names[name])
        elif isinstance(value, type) and isinstance(value.__init__, FunctionType):
            value.__init__ = answering(value.__init__, name)
    if not late:
        return

    def load(name: str) -> object:
        if name not in late:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(f"{room}.{late[name]}"), name)
        answer_wrong_calls({"__name__": room, name: found})
        return found

    names |= {"__getattr__": load, "__dir__": lambda: sorted([*names, *late])}


def answering(fn: _Any, name: str) -> _Any:
    """`fn`, whose TypeError for wrong arguments names the right ones; `name` is what the user
    calls."""
    if hasattr(fn, "_answers"):
        return fn

    @functools.wraps(fn)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return fn(*args, **kwargs)
        except TypeError:
            message = misfit(fn, name, args, kwargs)
            if message is None:  # the fault is further inside
                raise
        raise TypeError(message)

    called._answers = True  # pyright: ignore[reportAttributeAccessIssue]
    return called  # pyright: ignore[reportReturnType]


def misfit(fn: Callable, name: str, args: tuple, kwargs: dict[str, Any]) -> str | None:
    """What is wrong with the arguments of a call and how to write it, None where they fit."""
    signature = inspect.signature(fn)
    try:
        signature.bind(*args, **kwargs)
        return None
    except TypeError:
        pass
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    given = args[len(signature.parameters) - len(parameters) :]  # without self
    known = [p.name for p in parameters]
    unknown = [key for key in kwargs if key not in known]
    usage = f"Type {name}({_listed(parameters)})."
    if unknown:
        wrong = unknown[0]
        free = [p for p in known if p not in kwargs]
        near = meant(wrong, free)
        advice = f" Did you mean {near}?" if near else ""
        return f"{name} has no argument {wrong!r}.{advice} {usage}"
    places = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(given) > len(places) and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        without = (
            "no arguments"
            if not places
            else f"{len(places)} arguments"
            if len(places) > 1
            else "one argument"
        )
        return f"{name} takes {without} without a name, and got {len(given)}. {usage}"
    filled = {*places[: len(given)], *kwargs}
    missing = [
        p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_POSITIONAL
    ]
    missing = [p for p in missing if p not in filled]
    if missing:
        return f"{name} needs {' and '.join(missing)}. {usage}"
    twice = [p for p in places[: len(given)] if p in kwargs]
    return f"{name} got {twice[0]} twice. {usage}" if twice else None


def _listed(parameters: list[inspect.Parameter]) -> str:
    """What is needed, and of the rest as much as one line holds."""
    found = [_written(p) for p in parameters if p.default is p.empty]
    for parameter in parameters:
        if parameter.default is not parameter.empty:
            text = _written(parameter)
            if sum(map(len, found)) + len(text) > _LINE:
                return ", ".join([*found, "..."])
            found.append(text)
    return ", ".join(found)


def _written(parameter: inspect.Parameter) -> str:
    name = parameter.name
    if parameter.kind is parameter.VAR_POSITIONAL:
        return f"*{name}"
    needed = parameter.default is parameter.empty
    if parameter.kind is parameter.KEYWORD_ONLY or not needed:
        return f"{name}=..." if needed else f"{name}={parameter.default!r}"
    return name


def meant(wrong: str, known: list[str]) -> str | None:
    """The one of `known` that a wrong name stands for: another word for the same thing, or the same
    word misspelt."""
    for group in _SYNONYMS:
        if wrong in group:
            for name in group:
                if name in known:
                    return name
    near = get_close_matches(wrong.lower(), known, 1, cutoff=0.6)
    return near[0] if near else None
