"""The house's docstrings, with single backticks for code, as reStructuredText; and signatures
without noise."""

import enum
import inspect
import re
from typing import Any

import markup
import reference
from sphinx.ext.napoleon import Config, GoogleDocstring

_HEAD = re.compile(r"(?:the )?(top|head) of (?:this|the) file")
NAPOLEON = Config(napoleon_custom_sections=[("Attributes", "params_style")])
TARGETS = reference.targets()


def on_docstring(app: Any, what: str, name: str, part: Any, options: Any, lines: list[str]) -> None:
    """Rewrite one docstring in place: the house's markup, then Google's sections by napoleon."""
    text = "\n".join(markup.rst(lines, TARGETS, name))
    text = _HEAD.sub(
        rf":ref:`the \1 of its file "
        rf"<{reference.notes_label(_module_of(part))}>`",
        text,
    )
    # napoleon would take what stands before a colon in a property's docstring for its type
    kind = "method" if what == "property" else what
    lines[:] = GoogleDocstring(text, NAPOLEON, app, kind, name, part, options).lines()


def _module_of(part: Any) -> str:
    """Where an object is written; a property has no module of its own."""
    return getattr(part, "__module__", None) or getattr(
        getattr(part, "fget", None), "__module__", ""
    )


def on_signature(
    app: Any, what: str, name: str, part: Any, options: Any, args: str | None, returns: str | None
) -> Any:
    """Arguments without `Any`, and short names; none for a record whose fields its docstring
    lists."""
    if what not in ("class", "function", "method", "exception") or args is None:
        return None
    if inspect.isclass(part) and (
        issubclass(part, enum.Enum) or "Attributes:" in (part.__doc__ or "")
    ):
        if "Args:" not in (part.__doc__ or ""):
            return "", None
    try:
        signature = inspect.signature(part)
    except (TypeError, ValueError):
        return "", None
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    if what == "method" and parameters and parameters[0].name in ("self", "cls"):
        parameters = parameters[1:]
    shown = str(signature.replace(parameters=parameters, return_annotation=signature.empty))
    shown = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", shown)
    return shown, None if inspect.isclass(part) else _short(signature.return_annotation)


def _short(annotation: Any) -> str | None:
    if annotation is inspect.Signature.empty or annotation is Any:
        return None
    if annotation is None or annotation is type(None):
        return "None"
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=\w)", "", text).strip("'\"")
