"""Pages in Markdown: code that names a page or a public name leads there; examples end where their
last line does."""

import re
from typing import Any

import markup
import reference
from docutils import nodes
from sphinx.addnodes import pending_xref

_TARGETS = reference.targets()
_PAGES = {
    "benchmarks/README.md": "benchmarks",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
}


def on_source(app: Any, page: str, source: list[str]) -> None:
    """doctest wants a blank line between what is printed and the fence; a reader does not."""
    source[0] = re.sub(r"\n\n(?=```$)", "\n", source[0], flags=re.MULTILINE)


def on_doctree(app: Any, doctree: nodes.document) -> None:
    here = app.env.docname
    if here.startswith("reference/"):
        return
    for code in list(doctree.findall(nodes.literal)):
        text = code.astext()
        page = _PAGES.get(text, text.removeprefix("docs/").removesuffix(".md"))
        if text.endswith(".md") and page in app.env.found_docs:
            kind = {"refdomain": "std", "reftype": "doc", "reftarget": "/" + page}
        elif target := markup.target(text, _TARGETS):
            kind = {"refdomain": "py", "reftype": "obj", "reftarget": target}
        else:
            continue
        if not isinstance(code.parent, nodes.title | nodes.reference | pending_xref):
            link = pending_xref("", refdoc=here, refexplicit=True, **kind)
            code.replace_self(link)
            link += code
