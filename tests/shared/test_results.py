"""Recorded results, and the tables that are made of them."""

import json

import pytest

from shared import results


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project of one app, `toy`, that has no results."""
    app = tmp_path / "apps" / "toy"
    (app / "results").mkdir(parents=True)
    (app / "train.py").touch()
    (app / "__init__.py").write_text('"""Toy: does nothing.\n\nShape: one to one\n"""\n')
    for readme in (tmp_path / "README.md", app / "README.md"):
        readme.write_text("# T\n<!-- results -->\n<!-- /results -->\nend\n")
    monkeypatch.setattr(results, "ROOT", tmp_path)
    return tmp_path


def test_a_stale_table_is_seen(root, capsys):
    app, empty = root / "apps" / "toy", (root / "README.md").read_text()
    result = {
        "preset": "default",
        "command": "python -m apps.toy.train default",
        "parameters": 1_500_000,
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
        assert "| **1.25** |" in text or "errors: **1.25**" in text
        assert "50 (guessing)" in text
        assert "2 (Other; a paper)" in text
        assert text.endswith("<!-- /results -->\nend\n")
    (app / "README.md").write_text("no place")
    with pytest.raises(SystemExit) as end:
        results.main([])
    assert end.value.code == 2
    assert "has no place for its table" in capsys.readouterr().err


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
    """The folder of a run of the toy."""
    run = root / "runs" / name
    run.mkdir(parents=True)
    about = {
        "app": "toy",
        "preset": "big",
        "config": {"data_dir": "/home/me", "units": 1, "epochs": 3, **config},
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
    results.main(["--tried", *runs])  # kept twice, there once; `depth` is newer than the first
    results.main(["--check"])
    rows = readme.read_text().partition("<!-- tried -->\n")[2].splitlines()
    assert rows[2:] == [
        "| `big` | units 1, depth 4 | 3 of 3 | 1.7 min | 1.000 |",
        "| `big` | units 2 | 2 of 3 | 1.7 min | 2.500 |",
        "<!-- /tried -->",
        "last",
    ]
    kept = (root / "apps" / "toy" / "results" / "tried" / "big.json").read_text()
    assert "/home/me" not in kept
    with pytest.raises(SystemExit):
        results.main(["--tried", str(root / "none")])
    assert "none: no run there" in capsys.readouterr().err


def test_a_bar_in_a_cell_is_no_border():
    text = results.table(["metric"], [("BLEU (nrefs:1|case:lc)",)])
    assert text.splitlines()[2] == r"| BLEU (nrefs:1\|case:lc) |"
