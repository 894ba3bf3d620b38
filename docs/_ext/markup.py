"""Text of the house, with single backticks for code, as reStructuredText."""

import re
from collections.abc import Mapping

_CODE = re.compile(r"(``.+?``|(?<!`)`[^`\n]+(?:\n[^`\n]+)?`(?!`))", re.DOTALL)


def inline(text: str, targets: Mapping[str, str], owner: str = "") -> str:
    """One paragraph. Names in `targets` become links, except in the entry of the `owner` itself."""
    pieces = _CODE.split(text)
    made = []
    for i, piece in enumerate(pieces):
        if i % 2 == 0:
            made.append(_escaped(piece))
            continue
        before, after = pieces[i - 1][-1:], pieces[i + 1][:1]
        code = _code(piece.strip("`"), targets, owner)
        made.append(("\\ " if before.isalnum() else "") + code + ("\\ " if after.isalnum() else ""))
    return "".join(made)


def first_sentence(text: str) -> str:
    """Of a docstring, on one line; a full stop inside backticks ends nothing."""
    paragraph = re.sub(r"\s+", " ", text.strip().split("\n\n")[0])
    match = re.match(r"(?:`[^`]*`|[^`])*?[.:](?= [A-Z`]|$)", paragraph)
    return (match[0] if match else paragraph).rstrip(":")


def _code(code: str, targets: Mapping[str, str], owner: str) -> str:
    """A link where it is a public name that cannot be mistaken for an argument."""
    word = code.removesuffix("()").split(".")[-1]
    plain = re.fullmatch(r"(?:ls\.|levysde\.|theory\.|stats\.|plots\.|analysis\.|landscapes\.)*\w+(?:\(\))?", code)
    target = targets.get(word) if plain else None
    if target and target != owner and (word[0].isupper() or "_" in word or "." in code):
        return f":py:obj:`{code} <{target}>`"
    return f"``{code}``"


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\\\").replace("|", "\\|")
    text = re.sub(r"(?m)(?<!\*)\*(?!\*)(?! )|(?<=\S)(?<!\*)\*(?!\*)", r"\\*", text)
    return re.sub(r"(?<=\w)_(?!\w)", r"\\_", text)
