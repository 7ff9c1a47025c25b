"""Chains that choose among the n best answers of each model, compared with a search in Python."""

import contextlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from shared.errors import InputError
from shared.serving import chain, chained, decoding, export
from shared.serving.clients import SavedModelClient

ROOT = Path(__file__).parents[3]
APPS = sorted(path.parent.name for path in ROOT.glob("apps/*/train.py"))
INPUTS = tf.TensorSpec([None], tf.string, name="inputs")
ROWS = [b"abcdef", b"", b"b", b"cab", b"zz", b"feed", b"badge", b"refused", b"decade", b"zebra"]


def score_of(texts, salt):
    """Numbers between -1 and 0 that look random, from the bytes of the texts."""
    bucket = tf.strings.to_hash_bucket_strong(texts, 1000, [salt, 1])
    return -tf.cast(bucket, tf.float32) / 1000


class Model(tf.Module):
    """Answers with variants of a text: some are equal, and some rows have fewer than `n`, or none."""

    def __init__(self, salt, n=0):
        super().__init__()
        self.salt, self.n = salt, n
        graph = lambda function: tf.function(function, input_signature=[INPUTS])  # noqa: E731
        endpoints = {"serving_default": graph(self.answer)}
        self.endpoints = {**endpoints, "n_best": graph(self.n_best)} if n else endpoints

    def answer(self, inputs):
        # Without the last letter: several texts have the same answer, and a single letter has none.
        text, score = tf.strings.regex_replace(inputs, ".$", ""), score_of(inputs, self.salt)
        is_answer = ~self.refuses(inputs) & (text != "")
        return {
            "outputs": tf.where(is_answer, text, ""),
            "score": tf.where(is_answer, score, 0.0),
            "error": self.error(inputs),
        }

    def n_best(self, inputs):
        texts = [inputs, *(tf.strings.regex_replace(inputs, c, "x" * (c < "d")) for c in "abcdefg")]
        texts = tf.stack(texts[: self.n], 1)
        scores = score_of(texts, self.salt)
        is_answer = ~self.refuses(inputs)[:, tf.newaxis] & (scores > -0.8)
        scores, order = tf.math.top_k(tf.where(is_answer, scores, -np.inf), self.n)
        texts, scores, count = decoding.distinct(tf.gather(texts, order, batch_dims=1), scores)
        error = self.error(inputs)
        return {"outputs": texts, "score": scores, "count": count, "error": error}

    def refuses(self, inputs):
        return tf.strings.regex_full_match(inputs, ".*zz.*|")

    def error(self, inputs):
        has_b = tf.strings.regex_full_match(inputs, ".*b.*")
        message = tf.where(has_b, f"a b for model {self.salt}", "")
        return tf.where(self.refuses(inputs), "refused: " + inputs, message)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Exports with 4, 6 and 3 answers, and one with a single answer: {name: path}."""
    folder = tmp_path_factory.mktemp("saved_models")
    for salt, (name, n) in enumerate({"four": 4, "six": 6, "three": 3, "single": 0}.items()):
        export.save(Model(salt, n), folder / name / "1")
    return {path.name: str(path) for path in folder.iterdir()}


def load(paths, weights):
    """Returns the parts of a chain, and its endpoints in memory."""
    with contextlib.ExitStack() as stack:
        parts = chain.load_parts(paths, stack, n_best=True)
    return parts, chained.NBestChain(parts, export.sample_batch("a"), weights).endpoints


class BestPath(NamedTuple):
    total: float
    texts: list
    scores: list
    errors: list


def ask(part, text):
    """Returns the answers of a model to a text, [(answer, score)], and its message."""
    answer = {name: column[0] for name, column in part.predict(part.scored, [text]).items()}
    answers, scores = np.atleast_1d(answer["outputs"]), np.atleast_1d(answer["score"])
    count = answer.get("count", 1)
    pairs = zip(answers[:count].tolist(), scores[:count].tolist(), strict=True)
    return [(new, score) for new, score in pairs if new], answer["error"]


def search(parts, weights, text, n):
    """Returns the best paths of a text, and the path that was best before all ended."""
    paths = [BestPath(0.0, [text], [], [])]
    for part, weight in zip(parts, weights, strict=True):
        asked = [(path, *ask(part, path.texts[-1])) for path in paths]
        longer = [
            BestPath(
                path.total + weight * score,
                [*path.texts, new],
                [*path.scores, score],
                [*path.errors, error],
            )
            for path, answers, error in asked
            for new, score in answers
        ]
        if not longer:
            path, _, error = asked[0]
            return [], path._replace(errors=[*path.errors, error])
        kept = {}
        for path in sorted(longer, key=lambda path: -path.total):
            kept.setdefault(path.texts[-1], path)
        paths = list(kept.values())[:n]
    return paths, paths[0]


def padded(values, n, value):
    return [*values, *[value] * (n - len(values))]


@pytest.mark.parametrize(
    ("names", "weights"),
    [
        (["four", "six"], [1.0, 1.0]),
        (["six", "three"], [0.2, 1.5]),
        (["four", "single"], [1.0, 0.7]),
        (["four", "six"], [1.0, 0.0]),
        (["six", "four", "three"], [1.0, 0.5, 2.0]),
        (["three", "single", "six"], [0.5, 1.0, 1.0]),
        (["four", "four"], [1.0, 1.0]),
    ],
)
def test_the_best_paths_are_found(names, weights, folders):
    parts, endpoints = load([folders[name] for name in names], weights)
    n, last = {"four": 4, "six": 6, "three": 3}[names[0]], len(names)
    best = {k: v.numpy() for k, v in endpoints["serving_default"](tf.constant(ROWS)).items()}
    several = {k: v.numpy() for k, v in endpoints["n_best"](tf.constant(ROWS)).items()}
    close = {"rtol": 1e-5, "atol": 1e-5}
    counts = []
    for row, text in enumerate(ROWS):
        paths, top = search(parts, weights, text, n)
        counts.append(len(paths))
        assert several["count"][row] == len(paths)
        for k in range(1, last + 1):
            name = "outputs" if k == last else f"outputs_{k}"
            texts = [path.texts[k] for path in paths]
            assert several[name][row].tolist() == padded(texts, n, b"")
            scores = padded([path.scores[k - 1] for path in paths], n, 0)
            np.testing.assert_allclose(several[f"score_{k}"][row], scores, **close)
            assert best[name][row] == padded(top.texts, last + 1, b"")[k]
            score = padded(top.scores, last, 0)[k - 1]
            np.testing.assert_allclose(best[f"score_{k}"][row], score, **close)
            error = padded(top.errors, last, b"")[k - 1]
            assert best[f"error_{k}"][row] == several[f"error_{k}"][row] == error
        totals = padded([path.total for path in paths], n, 0)
        np.testing.assert_allclose(several["score"][row], totals, **close)
        np.testing.assert_allclose(best["score"][row], totals[0], **close)
        labels = [
            name if names.count(name) == 1 else f"{name} ({k})" for k, name in enumerate(names, 1)
        ]
        messages = zip(labels, top.errors, strict=False)
        joined = b"; ".join(f"{name}: ".encode() + error for name, error in messages if error)
        assert best["error"][row] == several["error"][row] == joined
    assert max(counts) > 2  # the rows are of all kinds
    assert min(counts) == 0
    assert set(best) == {
        "outputs", "score", "error", *(f"outputs_{k}" for k in range(1, last)),
        *(f"{name}_{k}" for name in ("score", "error") for k in range(1, last + 1)),
    }  # fmt: skip
    assert set(several) == {*best, "count"}


def test_the_second_model_can_change_the_choice(folders):
    parts, endpoints = load([folders["four"], folders["single"]], [1.0, 1.0])
    first = parts[0].predict("n_best", ROWS)["outputs"][:, 0]
    chosen = endpoints["serving_default"](tf.constant(ROWS))["outputs_1"].numpy()
    assert 0 < np.mean(first != chosen) < 1
    _, endpoints = load([folders["four"], folders["single"]], [1.0, 0.0])
    chosen = endpoints["serving_default"](tf.constant(ROWS))["outputs_1"].numpy()
    has_answer = endpoints["serving_default"](tf.constant(ROWS))["outputs"].numpy() != b""
    paths = parts[1].predict("serving_default", first.tolist())["outputs"] != b""
    assert (first == chosen)[has_answer & paths].all()


def test_rows_are_independent_and_a_batch_may_be_empty(folders):
    _, endpoints = load([folders["four"], folders["six"]], [1.0, 1.0])
    for function in endpoints.values():
        answer = {name: value.numpy() for name, value in function(tf.constant(ROWS)).items()}
        for row, text in enumerate(ROWS):
            for name, value in function(tf.constant([text])).items():
                assert value.numpy().tolist() == answer[name][row : row + 1].tolist()
        for name, value in function(tf.constant([], tf.string)).items():
            assert value.shape == (0, *answer[name].shape[1:])
            assert value.dtype == tf.as_dtype(answer[name].dtype)


def test_the_apps_fit(trained):
    """Every model with `n_best` can be the first one, and every model a later one."""
    first = []
    for name in APPS:
        with contextlib.ExitStack() as stack:
            part = chain.Part(str(trained(name).saved_model), stack)
        part.require_scores(is_first=False)
        assert part.scored == ("n_best" if "n_best" in part.signatures else "serving_default")
        if "n_best" in part.signatures:
            part.require_scores(is_first=True)
            first.append(name)
        else:
            with pytest.raises(
                InputError, match=r"^--n-best cannot be used: .* no signature n_best"
            ):
                part.require_scores(is_first=True)
    assert {"machine_translation", "pinyin_conversion"} <= set(first)


def test_real_models_are_exported(trained, tmp_path, capsys):
    """Translation, then pinyin: what the export answers is what both models answer one by one."""
    paths = [
        str(trained(name).saved_model) for name in ("machine_translation", "pinyin_conversion")
    ]
    flags = ["--n-best", "--weights", "1", "0.5", "--name", "both", "--to", str(tmp_path)]
    chain.main([*paths, *flags])
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'both' / '1'}\nnext: ")
    card = export.card_of(tmp_path / "both")
    assert card["weights"] == [1.0, 0.5]
    assert card["command"].endswith("--name both --n-best --weights 1.0 0.5")
    assert card["megabytes"] < sum(model["card"]["megabytes"] for model in card["models"])
    assert export.problems(tmp_path / "both" / "1") == []
    requests = export.warmup_requests(tmp_path / "both" / "1")
    assert requests.keys() == {"serving_default", "n_best"}
    parts, _ = load(paths, [1.0, 0.5])
    texts = [b"Wednesday, November 25, 2026", b"", b"two", b"\xff 1", b"January 3", b"x" * 70_000]
    answer = SavedModelClient(tmp_path / "both").predict("n_best", texts)
    best = SavedModelClient(tmp_path / "both").predict("serving_default", texts)
    for row, text in enumerate(texts):
        paths, top = search(parts, [1.0, 0.5], text, 10)
        assert answer["count"][row] == len(paths)
        assert answer["outputs"][row].tolist() == padded([p.texts[2] for p in paths], 10, b"")
        totals = padded([path.total for path in paths], 10, 0)
        np.testing.assert_allclose(answer["score"][row], totals, rtol=1e-4, atol=1e-4)
        assert best["error_1"][row] == top.errors[0]
    assert answer["count"].tolist()[1] == answer["count"].tolist()[-1] == 0
    assert best["error"][1] == b"machine_translation_tiny: the input is blank"
    assert max(answer["count"]) > 1


# ---- Models that do not fit ----------------------------------------------------------------------


SEVERAL = {
    "score": tf.TensorSpec([None, 1], tf.float32),
    "scores": tf.TensorSpec([None, 1], tf.float32),
    "count": tf.TensorSpec([None], tf.int32),
}


@pytest.mark.parametrize(
    ("n_best", "place", "message"),
    [
        ([], 0, "model has no signature n_best; it has: serving_default"),
        (["scores"], 0, r"n_best must return score float\[batch, n\]. Received: .*scores float32"),
        (["score"], 0, r"n_best must return count int\[batch\]. Received: "),
        (["scores"], 1, r"n_best must return score float\[batch, n\]. Received: .*scores float32"),
        ([], 1, r"serving_default must return score float\[batch\]. Received: e"),
    ],
)
def test_what_is_missing_is_named(n_best, place, message, folders, tmp_path):
    """`n_best`: further outputs of that signature; `place`: where the model is in the chain."""

    def several(inputs):
        zeros = {name: tf.zeros([tf.size(inputs), *SEVERAL[name].shape[1:]]) for name in n_best}
        zeros = {name: tf.cast(value, SEVERAL[name].dtype) for name, value in zeros.items()}
        return {"outputs": inputs[:, tf.newaxis], "error": inputs, **zeros}

    functions = {"serving_default": lambda x: {"outputs": x, "error": x}}
    if n_best:
        functions["n_best"] = several
    signatures = {
        name: tf.function(function, input_signature=[INPUTS])
        for name, function in functions.items()
    }
    tf.saved_model.save(tf.Module(), str(tmp_path / "model"), signatures=signatures)
    paths = [folders["four"]]
    paths.insert(place, str(tmp_path / "model"))
    with pytest.raises(InputError, match=f"^--n-best cannot be used: .*{message}") as caught:
        load(paths, [1.0, 1.0])
    assert "\n" not in str(caught.value)
