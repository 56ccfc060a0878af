"""The notebooks of docs/notebooks run from their first cell to their last."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from bench.paths import HOME

FOLDER = HOME / "docs" / "notebooks"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="not a checkout")


def executed(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> nbformat.NotebookNode:
    """The notebook with its outputs, run in a folder. Raises CellExecutionError if a cell fails."""
    path = os.pathsep.join(filter(None, [str(HOME), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
    # a kernel spec that is installed elsewhere may start another Python
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(folder / "jupyter"))
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def shown(notebook: nbformat.NotebookNode) -> list[dict[str, str]]:
    """What each code cell has shown: a text by its MIME type."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [
        {kind: text for output in cell.outputs for kind, text in output.get("data", {}).items()}
        | {"stdout": "".join(one.text for one in cell.outputs if one.get("name") == "stdout")}
        for cell in cells
    ]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_valid_and_holds_no_output(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and not any(cell.outputs or cell.execution_count for cell in code)


def test_from_records_to_a_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "docs" / "notebooks"
    folder.mkdir(parents=True)
    (tmp_path / "results").symlink_to(HOME / "results")
    cells = shown(executed("figure", folder, monkeypatch))
    assert "Ranks after 5,000 queries" in cells[3]["text/html"] and "image/png" in cells[4]
    assert (folder / "curves.pdf").read_bytes().startswith(b"%PDF")
    assert r"\toprule" in (folder / "few-shot.tex").read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_method_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = shown(executed("method", tmp_path, monkeypatch))
    assert [line.split()[0] for line in cells[1]["stdout"].splitlines()] == ["kept"] * 7
    assert "walk (step=0.05)" in cells[2]["text/plain"]
    assert "Random walk" in cells[3]["text/html"] and "Only Random walk" in cells[4]["text/html"]
