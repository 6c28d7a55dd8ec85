"""Notebooks: each runs to its end, anywhere, and is stored without what that leaves in it."""

import ast
from base64 import b64decode
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

import planted_cifar10
from batchnorm.report import notebook, statistics, studies_cifar10

FOLDER = Path(__file__).parents[1] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
LINES = 15  # of a cell, at most: more is logic, which belongs into the package
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
PICTURES = {"01": 1, "02": 6, "03": 6, "04": 0}  # at least: more when more has been run


def cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def shown(path: Path) -> list[nbformat.NotebookNode]:
    return [output for cell in cells(path) for output in cell.outputs]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs_and_holds_no_logic(path):
    whole = nbformat.read(path, 4)
    nbformat.validate(whole)
    assert whole.metadata == METADATA
    ids = [cell.id for cell in whole.cells]
    assert ids == [f"cell-{i:02d}" for i in range(len(ids))]
    for cell in cells(path):
        why = "clear it: jupyter nbconvert --clear-output --inplace notebooks/*.ipynb"
        assert (cell.outputs, cell.execution_count, cell.metadata) == ([], None, {}), why
        assert len(cell.source.splitlines()) <= LINES, cell.source
        code = ast.parse(cell.source.replace("%matplotlib inline", ""))
        logic = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda | ast.Try
        assert not [node for node in ast.walk(code) if isinstance(node, logic)], cell.source


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_runs_to_its_end_wherever_it_is_opened(path, tmp_path):
    """CellExecutionError, with the cell and its traceback, where one fails."""
    folder, done = tmp_path / "empty", tmp_path / path.name
    folder.mkdir()
    whole = nbformat.read(path, 4)
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(whole, timeout=300, kernel_name="python3", resources=where).execute()
    nbformat.write(whole, done)
    assert not list(folder.iterdir()), "it leaves files behind"
    said = [output.text for output in shown(done) if output.output_type == "stream"]
    assert not said, "a warning, or a print"
    pictures = [one for one in shown(done) if "image/png" in one.get("data", {})]
    assert len(pictures) >= PICTURES[path.stem[:2]]


def test_every_notebook_is_tested():
    assert [path.stem[:2] for path in PATHS] == list(PICTURES)


# --- what notebooks show --------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path) -> pd.DataFrame:
    """Depth at two scales."""
    planted_cifar10.plant(tmp_path, "cifar10_depth")
    planted_cifar10.plant(tmp_path, "cifar10_depth", scale="full", seeds=1)
    return statistics.load(tmp_path)


def test_a_study_is_shown_at_the_scale_of_most_of_its_runs(table):
    rows = notebook.study(table, "cifar10_depth")
    assert set(rows["scale"]) == {"quick"}
    assert set(rows["experiment"]) == {"cifar10_depth"}
    as_many = table[(table["scale"] == "full") | (table["seed"] == 0)]
    assert set(notebook.study(as_many, "cifar10_depth")["scale"]) == {"full"}
    for missing in ("cifar10_learning_rate", "cifar10_dropout"):
        rows = notebook.study(table, missing)
        assert rows.empty
        assert list(rows) == list(table)


def test_a_picture_is_the_png_of_its_figure(table):
    one = notebook.figure(studies_cifar10.depth, notebook.study(table, "cifar10_depth"))
    data, metadata = one._repr_mimebundle_(include=None, exclude=None)
    assert b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert metadata == {"image/png": {"width": 700}}


def test_what_was_not_run_says_so_and_is_not_drawn(table):
    rows, none = (notebook.study(table, name) for name in ("cifar10_depth", "cifar10_dropout"))
    for one in (
        notebook.figure(studies_cifar10.dropout, none),
        notebook.figure(studies_cifar10.depth, rows, none),
        notebook.text(str, none),
    ):
        assert one._repr_mimebundle_() == ({"text/markdown": notebook.NOT_RUN}, {})
    assert notebook.text(lambda rows: str(len(rows)), rows).content == str(len(rows))


def test_claims_are_judged_or_say_why_not(table):
    judged = notebook.claims(table, "cifar10_depth").content
    assert "| C28 |" in judged
    assert "(quick scale, n 3)" in judged
    waiting = notebook.claims(table, "cifar10_dropout").content
    assert "| C17 |" not in waiting
    assert "* C17: " in waiting
    assert waiting.count("Not run: no runs of cifar10_dropout at full or quick scale.") == 2
