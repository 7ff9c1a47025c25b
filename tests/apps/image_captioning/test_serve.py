"""The signatures beside a search in Python, and rows that do not affect each other."""

import dataclasses
import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from apps.image_captioning import images, serve
from apps.image_captioning.config import TINY
from apps.image_captioning.data import Assets
from apps.image_captioning.model import build
from shared.text.vocabulary import END, UNKNOWN, Vocabulary

WORDS = ["a", "red", "dog", "runs", ",", ".", "(", ")", "well", "-", "known"]
CONFIG = dataclasses.replace(
    TINY,
    image_size=16,
    encoder_filters=(4, 6),
    max_tokens=7,
    beam_width=3,
    max_request_bytes=30_000,
)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.txt"
    return Vocabulary.build([" ".join(WORDS)], "word", path)


@pytest.fixture(scope="module")
def parts(vocabulary):
    """A random model with clearly different probabilities, and its Server."""
    keras.utils.set_random_seed(3)
    assets = Assets(vocabulary, None)
    model = build(CONFIG, assets)
    embeddings, bias = model.get_layer("embedding").weights
    embeddings.assign(embeddings * 20)
    bias.assign(np.where(np.arange(vocabulary.size) == END, -2.0, 0.0))
    for layer in (model.get_layer("decoder").bridge, model.get_layer("decoder").out):
        layer.kernel.assign(layer.kernel * 8)
    return model, serve.Server(model, CONFIG, assets)


def file_of(seed, format_="PNG"):
    pixels = np.random.default_rng(seed).integers(0, 255, (4, 6, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.kron(pixels, np.ones((5, 5, 1), np.uint8))).save(file, format_)
    return file.getvalue()


FILES = [file_of(0), file_of(1, "JPEG"), file_of(2), file_of(3, "BMP")]


def ask(server, signature, files):
    answer = server.endpoints[signature](tf.constant(files, tf.string))
    return {name: value.numpy() for name, value in answer.items()}


def best_by_hand(model, file, beam_width=CONFIG.beam_width):
    """Returns the best captions of at most CONFIG.max_tokens tokens by a beam search with whole sequences."""
    image = images.decode(tf.constant([file]), 16, 30_000)[0].numpy()
    beam = [((), 0.0, False)]
    for _ in range(CONFIG.max_tokens):
        candidates = []
        for ids, score, done in beam:
            if done:
                candidates.append((ids, score, True))
                continue
            read = np.array([[END, *ids]], np.int32)
            logits = model({"images": image, "captions": read})[0, -1]
            log_p = tf.nn.log_softmax(logits).numpy()
            log_p[UNKNOWN] = -np.inf
            candidates += [((*ids, i), score + p, i == END) for i, p in enumerate(log_p)]
        candidates = [c for c in candidates if np.isfinite(c[1])]
        candidates.sort(key=lambda c: c[1] / ((5 + len(c[0])) / 6), reverse=True)
        beam = candidates[:beam_width]
    ids, score, _ = beam[0]
    return [i for i in ids if i != END], score / ((5 + len(ids)) / 6)


@pytest.mark.parametrize(
    ("signature", "beam_width"), [("serving_default", CONFIG.beam_width), ("greedy", 1)]
)
def test_captions_are_those_of_a_search_in_python(parts, vocabulary, signature, beam_width):
    model, server = parts
    answer = ask(server, signature, FILES)
    for file, output, score in zip(FILES, answer["outputs"], answer["score"], strict=True):
        ids, expected = best_by_hand(model, file, beam_width)
        tokens = vocabulary.token(tf.constant([ids], tf.int32)).numpy()[0] if ids else []
        assert output.decode().replace(" ", "") == b"".join(tokens).decode()
        assert score == pytest.approx(expected, abs=1e-4)
    assert (answer["error"] == b"").all()
    assert len(set(answer["outputs"])) > 1


def test_n_best_is_distinct_and_sorted(parts):
    _, server = parts
    answer = ask(server, "n_best", [*FILES, b""])
    for texts, scores, count in zip(
        answer["outputs"], answer["score"], answer["count"], strict=True
    ):
        assert len(set(texts[:count])) == count
        assert (np.diff(scores[:count]) <= 0).all()
        assert not texts[count:].any()
        assert not scores[count:].any()
    assert answer["count"][:-1].min() >= 1
    assert answer["count"][-1] == 0


def test_attention_is_that_of_the_model(parts):
    model, server = parts
    answer = ask(server, "attend", [*FILES, b"no image"])
    default = ask(server, "serving_default", [*FILES, b"no image"])
    assert answer["outputs"].tolist() == default["outputs"].tolist()
    assert answer["attention"].shape[2:] == (4, 4)
    decoder, embedding = model.get_layer("decoder"), model.get_layer("embedding")
    for i, file in enumerate(FILES):
        length, tokens = answer["length"][i], answer["tokens"][i]
        ids = server.vocabulary.encode(tf.constant([b" ".join(tokens[:length])]))[0][:, :length]
        read = tf.pad(ids, [[0, 0], [1, 0]])[:, :length]
        image = images.decode(tf.constant([file]), 16, 30_000)[0]
        encoder = next(layer for layer in model.layers if isinstance(layer, keras.Model))
        memory = model.get_layer("grid")(encoder(image))
        expected = decoder.attention_weights(embedding(read), memory)[0]
        weights = answer["attention"][i, :length].reshape(length, 16)
        np.testing.assert_allclose(weights, expected, atol=1e-5)
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
        assert not answer["attention"][i, length:].any()
        assert not tokens[length:].any()
    assert answer["length"][-1] == 0
    assert not answer["attention"][-1].any()


def test_features_are_the_mean_of_the_grid(parts):
    model, server = parts
    answer = ask(server, "features", [FILES[0], b"", FILES[1]])
    encoder = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    for row, file in ((0, FILES[0]), (2, FILES[1])):
        grid = encoder(images.decode(tf.constant([file]), 16, 30_000)[0])
        np.testing.assert_allclose(answer["features"][row], np.mean(grid, (1, 2))[0], atol=1e-5)
    assert not answer["features"][1].any()


BAD = {
    b"": "the input is empty",
    b"a text": "not an image file",
    FILES[0][:50]: "the image file is damaged",
    FILES[0].ljust(30_001, b"\0"): "30001 bytes: refused, because max_request_bytes is 30000",
}


def test_bad_rows_say_why_and_leave_the_others_alone(parts):
    _, server = parts
    for signature in server.endpoints:
        alone = ask(server, signature, FILES)
        mixed = ask(server, signature, [*BAD, *FILES])
        for name, column in mixed.items():
            assert column.shape[1:] == alone[name].shape[1:]
            if column.dtype == object:
                assert column[len(BAD) :].tolist() == alone[name].tolist()
            else:
                np.testing.assert_allclose(column[len(BAD) :], alone[name], atol=1e-5)
                assert np.isfinite(column).all()
        for error, message in zip(mixed["error"], BAD.values(), strict=False):
            assert error.decode().startswith(message)
        assert not mixed["outputs"][: len(BAD)].any()


def test_whole_shapes_of_an_empty_batch(parts):
    _, server = parts
    for signature in server.endpoints:
        full, empty = ask(server, signature, FILES), ask(server, signature, [])
        for name, column in empty.items():
            assert column.shape[0] == 0
            fixed = [
                i for i in range(1, full[name].ndim) if name not in ("attention", "tokens") or i > 1
            ]
            assert [column.shape[i] for i in fixed] == [full[name].shape[i] for i in fixed]


def test_captions_are_detokenized(parts, vocabulary):
    _, server = parts
    text = "a well - known dog , red ( a dog ) runs ."
    ids, length = vocabulary.encode(tf.constant([text]))
    output = server._text(ids[:, tf.newaxis], length[:, tf.newaxis]).numpy()[0, 0].decode()
    assert output == "a well-known dog, red (a dog) runs."


def test_a_fixed_encoder_is_rounded_as_in_the_cache(vocabulary):
    inputs = keras.Input((16, 16, 3))
    encoder = keras.Model(
        inputs, keras.layers.Rescaling(7.3)(keras.layers.AveragePooling2D(4)(inputs))
    )
    config = dataclasses.replace(CONFIG, encoder="x.keras", beam_width=1)
    assets = Assets(vocabulary, encoder)
    keras.utils.set_random_seed(3)
    model = build(config, assets)
    server = serve.Server(model, config, assets)
    answer = ask(server, "serving_default", FILES[:1])
    image = images.decode(tf.constant(FILES[:1]), 16, 30_000)[0]
    grid = np.asarray(encoder(image)).astype(np.float16).astype(np.float32)
    logits = model({"images": grid, "captions": np.zeros((1, 1), np.int32)})[0, 0].numpy()
    logits[UNKNOWN] = -np.inf
    first = vocabulary.token(tf.constant([int(np.argmax(logits))])).numpy()[0].decode()
    assert answer["outputs"][0].decode().startswith(first.strip())
