"""What the README says of this app beside input methods is what was measured."""

import json
import pathlib

import pytest

import apps.pinyin_conversion

FOLDER = pathlib.Path(apps.pinyin_conversion.__file__).parent
RESULTS = sorted((FOLDER / "results").glob("sentences*.json"))
ROWS = {"model": "", "unseparated": ", unseparated", "modified Kneser-Ney trigram": ", the trigram"}


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_rows_are_those_of_the_results(path):
    result = json.loads(path.read_text("utf-8"))
    table = (FOLDER / "README.md").read_text("utf-8")
    header = next(line for line in table.splitlines() if line.startswith("| engine |"))
    groups = [name.strip() for name in header.split("|")[3:-1]]
    assert sorted(groups) == sorted(result["test"]["groups"]["model"])
    for name, said in ROWS.items():
        of = result["test"]["groups"][name]
        figures = [f"{of[group][0]:.1f} ({of[group][1]:.1f})" for group in groups]
        row = f"| `{path.stem}`{said} | "
        assert row in table
        line = next(line for line in table.splitlines() if line.startswith(row))
        assert [cell.strip() for cell in line.split("|")[3:-1]] == figures
    headline = next(x for x in table.splitlines() if x.startswith(f"| `{path.stem}` | "))
    test = result["test"]
    expected = f"{test['value']:.1f} ({test['sentences_right']:.1f})"
    assert headline.split("|")[2].strip() == expected
