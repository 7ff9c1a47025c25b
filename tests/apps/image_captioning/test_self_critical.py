"""Training that maximizes CIDEr-D: samples, rewards, the gradient, and the command."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.image_captioning import data, model
from apps.image_captioning.config import TINY
from apps.image_captioning.metrics import CiderD
from apps.image_captioning.self_critical import SelfCritical
from shared.files import read_json
from shared.text.vocabulary import END, UNKNOWN

SAMPLES = 3


@pytest.fixture
def training(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("PEEPHOLE_CACHE", str(tmp_path / "cache"))
    config = dataclasses.replace(
        TINY,
        source="files",
        data_dir=(str(folder),),
        image_size=16,
        objective="cider",
        samples=SAMPLES,
        batch_size=4 * SAMPLES,
        pad_to_multiple_of=8,
        max_tokens=10,
    )
    splits = data.splits(config)
    (tmp_path / "assets").mkdir()
    assets = data.build_assets(config, splits["train"], tmp_path / "assets")
    keras.utils.set_random_seed(1)
    training = SelfCritical(model.build(config, assets), config, splits, assets)
    training.splits = splits
    return training


def test_batches(training):
    images, captions, weights = 0, [], []
    for inputs, ids, weight in training.epoch(0):
        assert ids.shape == weight.shape == inputs["captions"].shape
        assert ids.shape[1] % 8 == 0
        assert inputs["images"].shape == (len(ids), 16, 16, 3)
        np.testing.assert_array_equal(inputs["captions"][:, 0], END)
        np.testing.assert_array_equal(inputs["captions"][:, 1:], ids[:, :-1])
        images += len(ids) // SAMPLES
        captions += ids.numpy().tolist()
        weights += weight.numpy().tolist()
    assert images == 6
    assert not np.any(np.concatenate(captions) == UNKNOWN)
    for ids, weight in zip(captions, weights, strict=True):
        end = ids.index(END) if END in ids else len(ids)
        assert not np.any(weight[end + 1 :])  # the end is a token, what follows is padding
        assert len(set(weight[: end + 1])) == 1
    first = np.reshape([weight[0] for weight in weights], [6, SAMPLES])
    np.testing.assert_allclose(first.sum(1), 0, atol=1e-6)
    assert np.abs(first).max() > 0


def test_rewards_are_those_of_cider_d(training):
    rows = np.array([4, 1])
    ids, weights = training._sampled(rows, np.array([3, 7], np.int32))
    encode = training.assets.vocabulary.encode_ragged
    references = []
    for target in training.splits["train"].targets:
        texts = [data.tokenized(TINY, caption) for caption in target.split("\n")]
        references.append([[*row, END] for row in encode(tf.constant(texts)).to_list()])
    cider = CiderD(references)
    rewards = []
    for k, row in enumerate(ids.tolist()):
        tokens = row[: row.index(END) + 1] if END in row else row[:10]
        rewards.append(cider.score(rows[k // SAMPLES], tokens))
    rewards = np.reshape(rewards, [2, SAMPLES])
    mean_of_others = (rewards.sum(1, keepdims=True) - rewards) / (SAMPLES - 1)
    expected = (rewards - mean_of_others).ravel() / 6
    np.testing.assert_allclose(weights[:, 0], expected, atol=1e-6)


def test_samples_are_drawn_from_the_model(training):
    """The frequencies of the first token are its probabilities."""
    values = tf.constant(training.train.values([0]))
    inputs = {"images": values, "captions": tf.zeros([1, 1], tf.int32)}
    logits = training.model(inputs)[0, 0].numpy().astype(np.float64)
    logits[UNKNOWN] = -np.inf
    p = np.exp(logits - logits.max())
    p /= p.sum()
    first = [
        training._search(values, 100, tf.constant([seed, 5])).numpy()[:, 0] for seed in range(20)
    ]
    counts = np.bincount(np.ravel(first), minlength=len(p))
    assert counts[UNKNOWN] == 0
    assert np.abs(counts / 2000 - p).max() < 4 * np.sqrt(0.25 / 2000)
    again = training._search(values, 100, tf.constant([0, 5])).numpy()[:, 0]
    np.testing.assert_array_equal(first[0], again)


def test_validation_takes_the_most_probable_tokens(training):
    values = tf.constant(training.valid.values([1]))
    ids = training._search(values, 1, None).numpy()[0].tolist()
    for t, token in enumerate(ids):
        captions = tf.constant([[END, *ids[:t]]])
        logits = training.model({"images": values, "captions": captions})[0, t].numpy()
        logits[UNKNOWN] = -np.inf
        assert token == np.argmax(logits)
        if token == END:
            break
    assert 0 <= training.validate() <= 10


def test_the_gradient_raises_what_is_rewarded(training):
    """Steps on one batch make the captions with a positive weight more probable, and the others less."""
    inputs, ids, weights = next(iter(training.epoch(0)))
    training.model.compile(keras.optimizers.SGD(0.05), training.loss)

    def log_p():
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(ids, training.model(inputs))
        return -np.sum(entropy * (weights.numpy() != 0), 1)

    before, weight = log_p(), weights[:, 0].numpy()
    loss = training.model.evaluate(inputs, ids, sample_weight=weights, verbose=0)
    assert loss == pytest.approx(-np.sum(weight * before), abs=1e-4)
    for _ in range(5):
        training.model.train_on_batch(inputs, ids, sample_weight=weights)
    assert np.sum(weight * log_p()) > np.sum(weight * before)


def test_a_batch_is_sampled_after_the_step_before_it(training):
    counts = []

    class Count(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            counts.append(len(training.rewards))

    training.model.compile(keras.optimizers.SGD(0.01), training.loss)
    training.model.fit(training.epoch(0), callbacks=[Count()], verbose=0, shuffle=False)
    assert counts == [1, 2]


def test_damaged_images_are_left_out(training, folder):
    (folder / "images" / "2.png").write_bytes(b"not an image")
    splits = data.splits(training.config)
    other = SelfCritical(training.model, training.config, splits, training.assets)
    assert other.train.rows == [0, 1, 3, 4, 5]
    assert sum(len(ids) for _, ids, _ in other.epoch(0)) == 5 * SAMPLES


def test_the_command(trained, train_tiny, tmp_path, capsys):
    app = trained("image_captioning")
    flags = ["--objective", "cider", "--epochs", "1", "--max-examples", "40"]
    with pytest.raises(SystemExit):
        train_tiny(app, tmp_path / "run", *flags)
    assert "--objective cider needs --init-from" in capsys.readouterr().err
    train_tiny(app, tmp_path / "run", *flags, "--init-from", str(app.run))
    metrics = read_json(tmp_path / "run" / "metrics.json")
    (epoch,) = metrics["history"]
    assert -10 <= epoch["val_negative_cider"] <= 0
    assert -10 <= epoch["negative_cider"] <= 0
    assert metrics["test"]["value"] >= 0
