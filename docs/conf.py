"""Settings of the documentation: python -m sphinx -W --keep-going -b html docs docs/_build/html"""

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

import docstrings  # noqa: E402
import links  # noqa: E402
import mathml  # noqa: E402
import reference  # noqa: E402

import levysde  # noqa: E402

project = "levysde"
version = release = levysde.__version__
html_show_copyright = False

extensions = ["sphinx.ext.autodoc", "myst_nb", "sphinx_copybutton"]
exclude_patterns = ["_build", "_ext", "conf.py"]
default_role = "code"

# the API, from docstrings; docstrings.py says how they are read
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
add_module_names = False
python_use_unqualified_type_names = True

# pages are MyST; notebooks are run where the published pages are made, and in the tests otherwise
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "force" if os.environ.get("LEVYSDE_DOCS_EXECUTE") == "1" else "off"
nb_execution_timeout = 1800
nb_execution_raise_on_error = True
nb_merge_streams = True

html_theme = "furo"
html_title = "levysde"
html_static_path = ["_static"]
html_css_files = ["house.css"]
html_math_renderer = "mathml"
pygments_dark_style = "github-dark"
html_copy_source = False
html_show_sphinx = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def copy_notebooks() -> None:
    """The notebooks stand at the top of the repository; Sphinx reads what lies below this
    folder."""
    folder = HERE / "notebooks"
    folder.mkdir(exist_ok=True)
    sources = {path.name: path for path in (HERE.parent / "notebooks").glob("*.py")}
    for old in folder.glob("*.py"):
        if old.name not in sources:
            old.unlink()
    for name, source in sources.items():
        if not (folder / name).exists() or (folder / name).read_bytes() != source.read_bytes():
            shutil.copyfile(source, folder / name)


def on_source(app: Any, page: str, source: list[str]) -> None:
    """A notebook whose cells were not run says so below its title."""
    if page.startswith("notebooks/") and nb_execution_mode == "off":
        said = "# *Built without running the cells: `LEVYSDE_DOCS_EXECUTE=1` runs them.*"
        source[0] = re.sub(
            r"^(# # "
            r".*\n)",
            rf"\1#\n{said}\n",
            source[0],
            count=1,
            flags=re.MULTILINE,
        )


copy_notebooks()
reference.write_pages(HERE / "reference")


def setup(app: Any) -> None:
    app.add_html_math_renderer("mathml", (mathml.inline, None), (mathml.block, None))
    app.connect("source-read", links.on_source)
    app.connect("source-read", on_source)
    app.connect("doctree-read", links.on_doctree)
    app.connect("autodoc-process-docstring", docstrings.on_docstring)
    app.connect("autodoc-process-signature", docstrings.on_signature)
