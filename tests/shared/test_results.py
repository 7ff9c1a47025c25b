"""Recorded results, and the tables that are made from them."""

import json
import pathlib

import pytest

from shared import results
from shared.errors import InputError


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project of one app, `toy`, that has no results."""
    app = tmp_path / "apps" / "toy"
    (app / "results").mkdir(parents=True)
    (app / "train.py").touch()
    about = "Toy: does nothing.\n\nShape: one to one\nHeadline preset: default\n"
    (app / "__init__.py").write_text(f'"""{about}"""\n')
    for readme in (tmp_path / "README.md", app / "README.md"):
        readme.write_text("# T\n<!-- results -->\n<!-- /results -->\nend\n")
    monkeypatch.setattr(results, "ROOT", tmp_path)
    return tmp_path


def test_a_stale_table_is_noticed(root, capsys):
    app, empty = root / "apps" / "toy", (root / "README.md").read_text()
    result = {
        "preset": "default",
        "command": "python -m apps.toy.train default",
        "trainable_parameters": 1_500_000,
        "parameters": 2_500_000,
        "epochs": 3,
        "seconds": 120.0,
        "hardware": "a CPU, 2 cores",
        "test": {"metric": "errors", "value": 1.25, "baseline": "guessing", "baseline_value": 50},
        "notes": {"data": "toys", "peers": [{"name": "Other", "value": 2, "source": "a paper"}]},
    }
    (app / "results" / "default.json").write_text(json.dumps(result))
    with pytest.raises(SystemExit):
        results.main(["--check"])
    assert (root / "README.md").read_text() == empty
    results.main([])
    results.main(["--check"])
    for readme in (root / "README.md", app / "README.md"):
        text = readme.read_text()
        assert "**1.25**" in text
        assert "50 (guessing)" in text
        assert text.endswith("<!-- /results -->\nend\n")
    own, project = ((folder / "README.md").read_text() for folder in (app, root))
    assert "| **1.25** |" in own
    assert "2 (Other; a paper)" in own
    assert "| 1.50 M |" in own
    assert (
        "[toy](apps/toy/README.md) | does nothing | one to one | toys | **1.25** errors" in project
    )
    (app / "README.md").write_text("no place")
    with pytest.raises(SystemExit) as end:
        results.main([])
    assert end.value.code == 2
    assert "lacks the comments <!-- results --> and <!-- /results -->" in capsys.readouterr().err


def test_the_project_table_has_the_headline_preset(root):
    folder = root / "apps" / "toy"
    result = {
        "hardware": "a CPU", "command": "-", "epochs": 1, "seconds": 30.0, "trainable_parameters": 1,
        "test": {"metric": "errors", "value": 1, "baseline": "copy", "baseline_value": 2},
        "notes": {"data": "toys", "peers": []},
    }  # fmt: skip
    for preset, value in (("large", 3), ("default", 4)):
        row = {**result, "preset": preset, "test": {**result["test"], "value": value}}
        (folder / "results" / f"{preset}.json").write_text(json.dumps(row))
    about = (folder / "__init__.py").read_text()
    assert "**4** errors" in results.apps_table(root / "apps")
    (folder / "__init__.py").write_text(about.replace("preset: default", "preset: large"))
    rows = results.apps_table(root / "apps").splitlines()
    assert len(rows) == 3
    assert "**3** errors" in rows[2]
    # The table of the app has all presets, the default first.
    rows = results.app_table(folder).splitlines()
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["`default`", "`large`"]
    assert "none known" in rows[2]


def test_record_keeps_the_notes(tmp_path):
    card = {"preset": "default", "config": {"source": "embedded"}, "app": "toy"}
    path = results.record(tmp_path / "results", card, {"value": 1})
    assert json.loads(path.read_text())["notes"] == {"data": "embedded", "peers": []}
    noted = json.loads(path.read_text())
    noted["notes"]["data"] = "toys"
    path.write_text(json.dumps(noted))
    results.record(tmp_path / "results", card, {"value": 2})
    again = json.loads(path.read_text())
    assert (again["notes"]["data"], again["test"]["value"]) == ("toys", 2)


def tried(root, name, val_losses, **config):
    """Returns the folder of a run of the toy."""
    run = root / "runs" / name
    run.mkdir(parents=True)
    about = {
        "app": "toy",
        "preset": "big",
        "config": {"data_dir": ["/home/me"], "units": 1, "epochs": 3, **config},
        "data": {"train": "ab"},
        "hardware": "a CPU",
        "versions": {},
        "commit": "c",
    }
    (run / "run.json").write_text(json.dumps(about))
    history = [{"epoch": i + 1, "val_loss": loss} for i, loss in enumerate(val_losses)]
    (run / "metrics.json").write_text(json.dumps({"history": history, "seconds": 100.0}))
    return str(run)


def test_recipes_that_were_tried(root, capsys):
    readme = root / "apps" / "toy" / "README.md"
    runs = [tried(root, "a", [3.0, 2.5], units=2), tried(root, "b", [2.0, 1.0, 1.5], depth=4)]
    with pytest.raises(SystemExit):
        results.main(["--tried", *runs])
    assert "<!-- tried -->" in capsys.readouterr().err
    readme.write_text(readme.read_text() + "<!-- tried -->\nold\n<!-- /tried -->\nlast\n")
    results.main(["--tried", *runs])  # a run is recorded once; the first run has no setting `depth`
    results.main(["--check"])
    rows = readme.read_text().partition("<!-- tried -->\n")[2].splitlines()
    assert rows[2:] == [
        "| `big` | units 1, depth 4 | 3 of 3 | 1.7 min | 1.000 |",
        "| `big` | units 2 | 2 of 3 | 1.7 min | 2.500 |",
        "<!-- /tried -->",
        "last",
    ]
    recorded = (root / "apps" / "toy" / "results" / "tried" / "big.json").read_text()
    assert "/home/me" not in recorded
    with pytest.raises(SystemExit):
        results.main(["--tried", str(root / "none")])
    assert "none is not the folder of a run with a finished epoch" in capsys.readouterr().err


def test_settings_that_differ_from_the_recorded_run_are_shown(root):
    app = root / "apps" / "toy"
    readme = app / "README.md"
    readme.write_text(readme.read_text() + "<!-- tried -->\n<!-- /tried -->\n")
    results.main(["--tried", tried(root, "a", [3.0], units=2, depth=4)])
    assert "| those of the preset |" in results.tried_table(app)
    config = {"units": 2, "depth": 8, "epochs": 9, "new": 1}  # the run is older than `new`
    (app / "results" / "big.json").write_text(json.dumps({"config": config}))
    assert "| `big` | depth 4 | 1 of 3 |" in results.tried_table(app)


def test_recipes_have_a_test_result_if_all_have_the_same_metric(root):
    readme = root / "apps" / "toy" / "README.md"
    readme.write_text(readme.read_text() + "<!-- tried -->\n<!-- /tried -->\n")
    runs = [tried(root, "a", [3.0], units=2), tried(root, "b", [2.0], units=3)]
    table = lambda: readme.read_text().partition("<!-- tried -->\n")[2].splitlines()  # noqa: E731

    def finish(run, metric, value):
        path = pathlib.Path(run, "metrics.json")
        test = {"metric": metric, "value": value, "baseline": "other"}
        path.write_text(json.dumps({**json.loads(path.read_text()), "test": test}))
        results.main(["--tried", *runs])

    finish(runs[0], "BLEU", 20.5)
    assert table()[0] == "| preset | settings | epochs | time | validation loss |"
    finish(runs[1], "BLEU", 19.25)
    assert table()[0].endswith("| validation loss | BLEU |")
    assert [row.split(" | ")[-1] for row in table()[2:4]] == ["19.25 |", "20.5 |"]
    finish(runs[1], "chrF", 40)
    assert table()[0].endswith("| validation loss |")


def test_all_metrics_of_all_systems(root, capsys):
    app = root / "apps" / "toy"
    result = {
        "preset": "default",
        "command": "python -m apps.toy.train default",
        "trainable_parameters": 1_500_000,
        "epochs": 3,
        "seconds": 120.0,
        "hardware": "a CPU, 2 cores",
        "test": {
            **{"metric": "F1", "value": 9, "baseline": "guessing", "baseline_value": 1},
            **{"f1": 9, "words": 100},
            "systems": {"guessing": {"f1": 1, "rouge": 3}, "a person": {"f1": 10}},
        },
        "notes": {"data": "toys", "peers": []},
    }
    (app / "results" / "default.json").write_text(json.dumps(result))
    with pytest.raises(SystemExit):
        results.main([])
    assert "lacks the comments <!-- systems -->" in capsys.readouterr().err
    readme = app / "README.md"
    readme.write_text(readme.read_text() + "<!-- systems -->\n<!-- /systems -->\n")
    results.main([])
    results.main(["--check"])
    expected = """| preset | system | `f1` | `rouge` |
| --- | --- | --- | --- |
| `default` | the model | 9 |  |
| `default` | guessing | 1 | 3 |
| `default` | a person | 10 |  |
"""
    assert readme.read_text().endswith(f"<!-- systems -->\n{expected}<!-- /systems -->\n")


def test_a_bar_in_a_cell_is_escaped():
    text = results.table(["metric"], [("BLEU (nrefs:1|case:lc)",)])
    assert text.splitlines()[2] == r"| BLEU (nrefs:1\|case:lc) |"


# --- Test results --------------------------------------------------------------------------------


def test_headline():
    test = {"metric": "errors", "value": 1.25, "baseline": "copy", "baseline_value": 50, "n": 3}
    assert results.headline(test) == "errors: 1.25 (baseline, copy: 50)"


def test_lines_of_nested_results():
    test = {
        "value": 97.5,
        "extra": {"gold": {"value": 1}, "empty": {}},
        "widths": [1, 2],
        "beams": [{"width": 4, "score": {"bleu": 2.5}}, {"width": 8}],
        "none": [],
    }
    assert [line.split(maxsplit=1) for line in results.lines(test)] == [
        ["value", "97.5"],
        ["extra.gold.value", "1"],
        ["widths", "1 2"],
        ["beams.0.width", "4"],
        ["beams.0.score.bleu", "2.5"],
        ["beams.1.width", "8"],
        ["none"],
    ]
    # The figures are in one column.
    assert {line.index("1") for line in results.lines({"a": 1, "b": {"c": 1}})} == {33}


def test_data_that_differ_are_named():
    card = {"train": "1", "test": "2", "gold": "3"}
    results.check_data(card, {**card, "more": "4"})
    with pytest.raises(InputError, match=r"another SHA-256 of test, gold$"):
        results.check_data(card, {"train": "1", "test": "x"})
