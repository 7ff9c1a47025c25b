"""The table of the README that compares with input methods has the figures of the results."""

import json
import pathlib

import pytest

import apps.pinyin_conversion

FOLDER = pathlib.Path(apps.pinyin_conversion.__file__).parent
RESULTS = sorted((FOLDER / "results").glob("sentences*.json"))
ROWS = {"model": "", "unseparated": ", unseparated", "modified Kneser-Ney trigram": ", the trigram"}


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_rows_have_the_figures_of_the_results(path):
    result = json.loads(path.read_text("utf-8"))
    lines = (FOLDER / "README.md").read_text("utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("| engine |"))
    header, *table = lines[first:]
    groups = [name.strip() for name in header.split("|")[3:-1]]
    assert sorted(groups) == sorted(result["test"]["groups"]["model"])
    for name, suffix in ROWS.items():
        figures_of = result["test"]["groups"][name]
        columns = [result["test"]["overall"][name], *(figures_of[group] for group in groups)]
        figures = [f"{characters:.1f} ({whole:.1f})" for characters, whole in columns]
        row = f"| `{path.stem}`{suffix} | "
        line = next(line for line in table if line.startswith(row))
        assert [cell.strip() for cell in line.split("|")[2:-1]] == figures
