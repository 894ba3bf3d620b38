"""The notebooks, as notebooks: converted, validated and run from the first cell to the last, with
few trajectories."""

import re
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


def as_ipynb(name: str) -> nbformat.NotebookNode:
    """The notebook as Jupyter would open it."""
    made = jupytext.writes(jupytext.read(FOLDER / f"{name}.py"), fmt="ipynb")
    return nbformat.reads(made, as_version=4)


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Settings of the kernels: few trajectories, and a folder for what they write."""
    monkeypatch.setenv("LEVYSDE_NOTEBOOK_NUM", "50")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    # Jupyter's own, which puts figures into the page
    monkeypatch.delenv("MPLBACKEND", raising=False)


def run(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    resources = {"metadata": {"path": str(FOLDER)}}
    return NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources=resources
    ).execute()


def test_there_are_six_in_order():
    assert [name[:2] for name in NAMES] == ["1_", "2_", "3_", "4_", "5_", "6_"]
    assert not list(FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_notebook_without_outputs(name):
    notebook = as_ipynb(name)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    assert notebook.cells[-1].cell_type == "markdown"
    assert not any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.parametrize("name", NAMES)
def test_it_survives_the_way_to_ipynb_and_back(name):
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    back = jupytext.writes(as_ipynb(name), fmt="py:percent")
    versions = re.compile(r"^#\s+(?:format|jupytext)_version: .*\n", re.MULTILINE)
    assert versions.sub("", back) == versions.sub("", text)


@pytest.mark.slow_cases(but=("1_first_escape",))
@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name, quick):
    notebook = run(as_ipynb(name))
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        kinds = [kind for output in cell.outputs for kind in output.get("data", {})]
        texts = [
            output.get("text", output.get("data", {}).get("text/plain", ""))
            for output in cell.outputs
        ]
        assert not [output.text for output in cell.outputs if output.get("name") == "stderr"]
        assert not [text for text in texts if re.search(r"\bnan\b", text, re.IGNORECASE)]
        if "plt.show()" in cell.source or cell.source.startswith("Image("):
            assert "image/png" in kinds, cell.source
