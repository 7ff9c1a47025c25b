"""Chains: the joined models answer as one after another, and are checked as every export is."""

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from shared import predict
from shared.errors import InputError
from shared.serving import chain, chained, export
from shared.serving.clients import SavedModelClient

INPUTS = tf.TensorSpec([None], tf.string, name="inputs")


SAMPLES = [
    b"PNG\0\xff dog", b"cat", b"fish", b"silent", b"noisy dog", b"noisy fish", b"xyz"
]  # fmt: skip
ROWS = [b"cat", b"xyz", b"PNG\0\xff dog", b"", b"fish", b"silent", b"noisy dog", b"noisy fish"]


@pytest.fixture(scope="module")
def joined(models):
    """The chain of both, made as a user makes it."""
    arguments = [str(models / "english"), str(models / "german"), "--name", "to_german"]
    chain.main([*arguments, "--to", str(models)])
    return models / "to_german"


def test_a_chain_answers_as_its_models_one_after_another(models, joined):
    english, german, both = map(SavedModelClient, (models / "english", models / "german", joined))
    first = english.predict("serving_default", ROWS)
    answer = both.predict("serving_default", ROWS)
    for name, column in first.items():
        renamed = {"wav_bytes": "wav_1_bytes"}.get(name, f"{name}_1")
        assert answer.pop(renamed).tolist() == column.tolist()
    sent = [row for row, text in enumerate(first["outputs"]) if text]
    assert sent == [0, 2, 4, 6, 7]
    second = german.predict("serving_default", first["outputs"][sent].tolist())
    others = np.setdiff1d(np.arange(len(ROWS)), sent)
    second["error_2"] = second.pop("error")
    error = answer.pop("error").tolist()
    assert answer.keys() == second.keys()
    for name, column in second.items():
        assert answer[name][sent].tolist() == column.tolist()
        assert not answer[name][others].any()
        assert answer[name].dtype == column.dtype
    assert error == [
        b"",
        b"english: unknown: xyz",
        b"",
        b"english: unknown: ",
        b"german: unknown: a fish",
        b"",
        b"english: noise was removed",
        b"english: noise was removed; german: unknown: a fish",
    ]
    assert answer["outputs"].tolist() == [
        b"eine Katze", b"", b"ein Hund", b"", b"", b"", b"ein Hund", b"",
    ]  # fmt: skip


def test_rows_are_independent_and_a_batch_may_be_empty(joined):
    client = SavedModelClient(joined)
    answer = client.predict("serving_default", ROWS)
    for row, text in enumerate(ROWS):
        for name, column in client.predict("serving_default", [text]).items():
            width = column.shape[-1]  # a row alone is padded to its own length
            expected = answer[name][row : row + 1]
            assert column.tolist() == expected[..., :width].tolist()
            assert column.ndim == 1 or not expected[..., width:].any()
    empty = client.predict("serving_default", [])
    assert empty.keys() == answer.keys()
    for name, column in empty.items():
        assert (column.dtype, column.ndim, len(column)) == (
            answer[name].dtype, answer[name].ndim, 0,
        )  # fmt: skip
    refused = client.predict("serving_default", ["xyz", ""])  # nothing reaches the second model
    assert refused["outputs"].tolist() == [b"", b""]


def test_the_files_of_a_chain(models, joined):
    """It has the tables, variables and files of both, and the requests of the first."""
    version = joined / "1"
    assert export.problems(version) == []
    assets = [p.read_bytes() for p in (version / "assets").iterdir()]
    parents = [models / name / "1" for name in ("english", "german")]
    assert sorted(assets) == sorted((p / "assets" / "words.txt").read_bytes() for p in parents)
    variables = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    names = [name for name in variables.get_variable_to_shape_map() if name.endswith("VALUE")]
    assert sorted(variables.get_tensor(name) for name in names) == [1.0, 10.0]
    requests = export.warmup_requests(version)
    assert requests.keys() == {"serving_default"}
    samples = export.warmup_requests(parents[0])["serving_default"]["inputs"]
    assert requests["serving_default"]["inputs"].tolist() == samples.tolist()
    assert samples.tolist() == SAMPLES
    card = export.card_of(joined)
    assert card["app"] == "chain"
    assert card["latency_ms"] > 0
    assert [(m["name"], m["version"]) for m in card["models"]] == [
        ("english", "1"),
        ("german", "1"),
    ]
    assert [m["card"] for m in card["models"]] == [export.card_of(parent) for parent in parents]
    command = "python -m shared.serving.chain english/1 german/1 --name to_german"
    assert card["command"] == command
    assert card["versions"]["tensorflow"] == tf.__version__
    assert str(models) not in json.dumps(card)
    files = [path for path in version.rglob("*") if path.is_file()]
    assert [path for path in files if str(models).encode() in path.read_bytes()] == []
    with pytest.raises(InputError, match=r"is a model of chain, not of apps.english"):
        export.card_of(joined, "apps.english")


def test_predict_sends_files_and_texts(joined, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("dog.png").write_bytes(b"PNG\0\xff dog")
    Path("texts.txt").write_bytes(b"cat\nfish\n")
    assert predict.main([str(joined), "@dog.png"]) == 0
    assert capsys.readouterr().out == "ein Hund\n"
    assert predict.main([str(joined), "@texts.txt", "silent", "@dog.png"]) == 1
    out, err = capsys.readouterr()
    assert out == "eine Katze\n\n\nein Hund\n"
    assert "row 2: error: german: unknown: a fish\n" in err
    assert predict.main([str(joined), "@dog.png", "--format", "jsonl"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["input"], row["outputs_1"], row["error_1"]) == ("dog.png", "a dog", "")
    assert Path(row["wav_1_bytes"]).read_bytes() == b"RIFF\xffa dog"
    assert Path(row["wav_bytes"]).read_bytes() == b"RIFF\xffein Hund"


def test_the_next_chain_is_version_2_and_an_app_is_never_replaced(models, joined, capsys):
    arguments = [str(models / "english" / "1"), str(models / "german" / "1")]
    to = ["--to", str(models)]
    chain.main([*arguments, "--name", "to_german", *to])
    out, err = capsys.readouterr()
    assert out == f"{joined / '2'}\nnext: python -m shared.predict {joined} @file\n"
    assert err == ""
    assert sorted(path.name for path in joined.iterdir()) == ["1", "2"]
    shutil.rmtree(joined / "2")
    with pytest.raises(SystemExit) as stop:
        chain.main([*arguments, "--name", "english", *to])
    assert stop.value.code == 2
    assert "english is a model of english, not a chain: choose another --name" in (
        capsys.readouterr().err
    )
    assert export.versions(models / "english") == ["1"]


def test_three_models_and_one_of_them_twice(models, tmp_path):
    """The third model is the first one again, which is saved once."""
    paths = [str(models / name) for name in ("english", "german", "english")]
    with contextlib.ExitStack() as stack:
        parts = chain.load_parts(paths, stack)
        assert parts[0] is parts[2]
        sample = export.sample_batch("cat", "xyz", "fish")
        folder = tmp_path / "three"
        export.write(chained.Chain(parts, sample), folder, {})
    assert len(list((folder / "assets").iterdir())) == 2
    answer = SavedModelClient(folder).predict("serving_default", [*sample])
    assert answer["outputs_1"].tolist() == [b"a cat", b"", b"a fish"]
    assert answer["outputs_2"].tolist() == [b"eine Katze", b"", b""]
    assert answer["outputs"].tolist() == [b"", b"", b""]
    assert answer["error"].tolist() == [
        b"english (3): unknown: eine Katze",
        b"english (1): unknown: xyz",
        b"german: unknown: a fish",
    ]
    assert {"error_1", "error_2", "error_3", "wav_2_bytes", "wav_bytes"} <= answer.keys()


def test_a_chain_may_be_the_first_model_of_a_chain_but_not_the_last(models, joined):
    german = str(models / "german")
    with contextlib.ExitStack() as stack:
        parts = chain.load_parts([str(joined), german], stack)
        server = chained.Chain(parts, export.sample_batch("cat"))
        answer = server.endpoints["serving_default"](tf.constant([b"cat", b"fish"]))
        assert answer["outputs_1_1"].numpy().tolist() == [b"a cat", b"a fish"]
        assert answer["outputs_1"].numpy().tolist() == [b"eine Katze", b""]
        parts = chain.load_parts([german, str(joined)], stack)
        with pytest.raises(InputError, match=r"to_german.*another output.*give the models that it"):
            chained.Chain(parts, export.sample_batch("cat"))


def test_folders_with_wildcards_in_their_names(models, tmp_path):
    for name in ("english", "german"):
        shutil.copytree(models / name, tmp_path / "a[1]" / name)
    paths = [str(tmp_path / "a[1]" / name) for name in ("english", "german")]
    folder = chain.join(paths, tmp_path / "a[1]" / "both")
    assert folder == tmp_path / "a[1]" / "both" / "1"
    answer = SavedModelClient(folder).predict("serving_default", ["cat"])
    assert answer["outputs"].tolist() == [b"eine Katze"]


# ---- Names and notes -----------------------------------------------------------------------------


def part(path):
    with contextlib.ExitStack() as stack:
        return chain.Part(str(path), stack)


def test_names_and_versions(models, tmp_path, monkeypatch):
    read = lambda path: (part(path).name, part(path).version)  # noqa: E731
    assert read(models / "english") == read(models / "english" / "1") == ("english", "1")
    monkeypatch.chdir(models / "english" / "1")
    assert read(".") == ("english", "1")
    run = tmp_path / "run" / "saved_model"  # of a run, whose folder does not name the app
    shutil.copytree(models / "german", run)
    assert read(run) == ("german", "1")
    path = run / "1" / "assets.extra" / "model_card.json"
    path.write_text(json.dumps({"app": "translation", "preset": "en_de"}))
    assert read(run / "1") == ("translation_en_de", "1")
    (run / "1").rename(tmp_path / "somewhere")
    assert read(tmp_path / "somewhere") == ("somewhere", None)


def test_a_part_still_answers(models):
    answer = part(models / "english").predict("serving_default", ["cat"])
    assert answer["outputs"].tolist() == [b"a cat"]


def test_a_model_of_another_program(models, tmp_path, capsys):
    """No model card, no warm-up requests, another version of TensorFlow: all of it is noted."""
    shutil.copytree(models / "english", tmp_path / "english")
    version = tmp_path / "english" / "1"
    shutil.rmtree(version / "assets.extra")
    model = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    model.meta_graphs[0].meta_info_def.tensorflow_version = "2.20.0"
    (version / "saved_model.pb").write_bytes(model.SerializeToString())
    chain.main(
        [str(tmp_path / "english"), str(models / "german"), "--name", "a", "--to", str(tmp_path)]
    )
    out, err = capsys.readouterr()
    assert out.endswith(f'{tmp_path / "a"} "some text"\n')
    notes = err.splitlines()
    assert len(notes) == 3
    assert f"{version} by TensorFlow 2.20.0, {models / 'german' / '1'} by" in notes[0]
    assert notes[1].endswith("has no warm-up requests: the chain is checked with two texts")
    assert "no warm-up request has an answer that reaches" in notes[2]
    assert export.card_of(tmp_path / "a")["models"][0]["card"] is None
