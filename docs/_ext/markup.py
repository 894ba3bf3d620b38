"""Text of the house, with single backticks for code, as reStructuredText."""

import re
from collections.abc import Mapping

_CODE = re.compile(r"(``.+?``|(?<!`)`[^`\n]+(?:\n[^`\n]+)?`(?!`))", re.DOTALL)

_SECTION = re.compile(
    r"^(Args|Attributes|Returns|Raises|Yields|Example|Examples|Note|Warning):\s*$"
)
_ONE_LINE = re.compile(r"^(Returns|Raises|Yields): (\S.*)$")
_ROOMS = (
    "noise|landscapes|domains|dynamics|kernels|escape|theory|stats|analysis|networks|plots|sweeps|"
    "studies|protocols|random"
)
_NAME = re.compile(
    rf"(?P<room>(?:ls|levysde|{_ROOMS})\.)*(?P<name>\w+)(?P<member>\.\w+)?(?P<call>\([^()]*\))?"
)
_SEE_HEAD = (
    r" \((?:see )?(?:the )?(?:top|head) of (?:this|the) file\)|; see the head of this file(?=\))"
)


def rst(lines: list[str], targets: Mapping[str, str], owner: str = "") -> list[str]:
    """A docstring, line by line; its sections are left to napoleon."""
    literal = False
    paragraphs = []
    for paragraph in "\n".join(_blocks(_source_fields(lines))).split("\n\n"):
        literal = (literal and paragraph.startswith(" ")) or paragraph.lstrip().startswith(">>>")
        paragraphs.append(paragraph if literal else inline(paragraph, targets, owner))
        literal = literal or paragraph.endswith("::")
    return "\n\n".join(paragraphs).split("\n")


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
    """Of a docstring, on one line; a full stop inside backticks or brackets ends nothing."""
    paragraph = re.sub(r"\s+", " ", text.strip().split("\n\n")[0])
    paragraph = re.sub(_SEE_HEAD, "", paragraph)
    for match in re.finditer(r"[.](?= [A-Z`]|$)", paragraph):
        sentence = paragraph[: match.end()]
        if sentence.count("`") % 2 == 0 and sentence.count("(") <= sentence.count(")"):
            return sentence
    return paragraph


def _source_fields(lines: list[str]) -> list[str]:
    """`Source: text` as a field, on one line or as a block; `Returns: text` on one line as a
    block."""
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
    """Lists set apart by a blank line; indented paragraphs that belong to no section are formulas
    or code."""
    made: list[str] = []
    inside = False  # of a section
    for line in lines:
        if line and not line.startswith(" "):
            inside = bool(_SECTION.match(line)) or line.startswith((":", "* ", "- "))
        before = made[-1] if made else ""
        item = line.lstrip().startswith(("* ", "- "))
        if (
            item
            and before.strip()
            and not before.lstrip().startswith(("* ", "- "))
            and not before.startswith("  ")
        ):
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


def target(code: str, targets: Mapping[str, str]) -> str | None:
    """Where code leads that is a public name, a call of one, or a method of a class.

    A bare word in lower case may be an argument or a column; a call or a dotted name is not.
    """
    match = _NAME.fullmatch(code)
    if match is None or match["name"] not in targets:
        return None
    name, member = match["name"], match["member"]
    if member and not name[0].isupper():
        return None
    sure = name[0].isupper() or "_" in name or match["call"] or match["room"]
    return targets[name] + (member or "") if sure else None


def _code(code: str, targets: Mapping[str, str], owner: str) -> str:
    found = target(code, targets)
    # angle brackets would be taken for the address
    return f"``{code}``" if found in (None, owner) or "<" in code else f":py:obj:`{code} <{found}>`"


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\\\").replace("|", "\\|")
    text = re.sub(r"(?m)(?<!\*)\*(?!\*)(?! )|(?<=\S)(?<!\*)\*(?!\*)", r"\\*", text)
    return re.sub(r"(?<=\w)_(?!\w)", r"\\_", text)
