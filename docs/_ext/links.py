"""Pages in Markdown: code that is a public name leads to its entry; examples end where their last line does."""

import re
from typing import Any

import markup
import reference
from docutils import nodes
from sphinx.addnodes import pending_xref

_TARGETS = reference.targets()


def on_source(app: Any, page: str, source: list[str]) -> None:
    """doctest wants a blank line between what is printed and the fence; a reader does not."""
    source[0] = re.sub(r"\n\n(?=```$)", "\n", source[0], flags=re.MULTILINE)


def on_doctree(app: Any, doctree: nodes.document) -> None:
    page = app.env.docname
    if page.startswith("reference/"):
        return
    for code in list(doctree.findall(nodes.literal)):
        target = markup.target(code.astext(), _TARGETS)
        if target is None or isinstance(code.parent, nodes.title | nodes.reference | pending_xref):
            continue
        link = pending_xref("", refdomain="py", reftype="obj", reftarget=target, refdoc=page, refexplicit=True)
        code.replace_self(link)
        link += code
