"""Notebooks are pairs: a .py twin to read and review, an .ipynb to open; `make notebooks` writes the second anew.

They are executed by nbmake in `make test` (`pytest --nbmake notebooks`).
"""

from __future__ import annotations

from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext")
FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def test_each_notebook_has_its_twin() -> None:
    """As many .py files as notebooks, with the same names."""
    assert NOTEBOOKS
    assert [path.stem for path in NOTEBOOKS] == [path.stem for path in sorted(FOLDER.glob("*.py"))]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_twins_say_the_same(path: Path) -> None:
    """Cell for cell the same kind and the same text."""
    cells, twin = (jupytext.read(file).cells for file in (path, path.with_suffix(".py")))
    assert [(cell.cell_type, cell.source) for cell in cells] == [(cell.cell_type, cell.source) for cell in twin]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_kept(path: Path) -> None:
    """Results of a run do not travel in git."""
    cells = [cell for cell in jupytext.read(path).cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
