"""The house's docstrings, with single backticks for code, as reStructuredText; and signatures without noise."""

import enum
import inspect
import re
from typing import Any

import markup
import reference
from sphinx.ext.napoleon import Config, GoogleDocstring

_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields|Example|Examples|Note|Warning):\s*$")
_ONE_LINE = re.compile(r"^(Returns|Raises|Yields): (\S.*)$")
NAPOLEON = Config(napoleon_custom_sections=[("Attributes", "params_style")])
TARGETS = reference.targets()


def on_docstring(app: Any, what: str, name: str, part: Any, options: Any, lines: list[str]) -> None:
    """Rewrite one docstring in place: the house's markup, then Google's sections by napoleon."""
    text = "\n".join(_blocks(_source_fields(lines)))
    literal = False
    paragraphs = []
    for paragraph in text.split("\n\n"):
        literal = (literal and paragraph.startswith(" ")) or paragraph.lstrip().startswith(">>>")
        paragraphs.append(paragraph if literal else markup.inline(paragraph, TARGETS, name))
        literal = literal or paragraph == "::"
    # napoleon would take what stands before a colon in a property's docstring for its type
    kind = "method" if what == "property" else what
    lines[:] = GoogleDocstring("\n\n".join(paragraphs), NAPOLEON, app, kind, name, part, options).lines()


def _source_fields(lines: list[str]) -> list[str]:
    """`Source: text` as a field, on one line or as a block; `Returns: text` on one line as a block."""
    made: list[str] = []
    for i, line in enumerate(lines):
        if line.startswith("Source:"):
            rest = line.removeprefix("Source:").strip()
            made += ["", f":Source: {rest}".rstrip()]
        elif made and made[-1].startswith(":Source:") and line and i:
            made[-1] += " " + line.strip()
        elif match := _ONE_LINE.match(line):
            made += ["", f"{match[1]}:", f"    {match[2]}"]
        else:
            made.append(line)
    return made


def _blocks(lines: list[str]) -> list[str]:
    """Lists set apart by a blank line; indented paragraphs that belong to no section are formulas or code."""
    made: list[str] = []
    inside = False  # of a section
    for line in lines:
        if line and not line.startswith(" "):
            inside = bool(_SECTION.match(line)) or line.startswith((":", "* ", "- "))
        before = made[-1] if made else ""
        item = line.lstrip().startswith(("* ", "- "))
        if item and before.strip() and not before.lstrip().startswith(("* ", "- ")) and not before.startswith("  "):
            made.append("")
        if line.startswith("    ") and not before.strip() and not inside and not _literal(made):
            made += ["::", ""]
        made.append(line)
    return made


def _literal(lines: list[str]) -> bool:
    """Whether the last paragraph that is not indented opened a literal block."""
    for line in reversed(lines):
        if line and not line.startswith(" "):
            return line.endswith("::")
    return False


def on_signature(app: Any, what: str, name: str, part: Any, options: Any, args: str | None, returns: str | None) -> Any:
    """Arguments without `Any`, and short names; none for a record whose fields its docstring lists."""
    if what not in ("class", "function", "method", "exception") or args is None:
        return None
    if inspect.isclass(part) and (issubclass(part, enum.Enum) or "Attributes:" in (part.__doc__ or "")):
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
    return shown, None if inspect.isclass(part) else _short(signature.return_annotation)


def _short(annotation: Any) -> str | None:
    if annotation is inspect.Signature.empty or annotation is Any:
        return None
    if annotation is None or annotation is type(None):
        return "None"
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=\w)", "", text).strip("'\"")
