"""The bias of the decision: the best F1 at the ratio of the labels."""

import dataclasses
import types

import numpy as np
import pytest
import tensorflow as tf

from apps.extractive_summarization import calibration
from apps.extractive_summarization.config import TINY
from apps.extractive_summarization.data import Assets
from apps.extractive_summarization.model import build, parts

CONFIG = dataclasses.replace(TINY, char_filters=0, units=4, embedding_dim=4)


def test_choice():
    f1, ratio = np.array([0.5, 0.8, 0.7, 0.9]), np.array([0.2, 0.41, 0.39, 0.6])
    assert calibration.choose(f1, ratio, 0.4) == 1
    assert calibration.choose(f1, ratio, 0.61) == 3
    assert calibration.choose(f1, ratio, 0.3) == 2  # none is near: the nearest
    assert calibration.choose(f1, ratio, 0.0) == 0


@pytest.fixture(params=["word", "sentence"])
def case(request):
    """A model with random weights, and two batches; the last row is padding."""
    config = dataclasses.replace(CONFIG, level=request.param)
    model = build(config, Assets(types.SimpleNamespace(size=9), types.SimpleNamespace(size=5)))
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    batches = []
    for time in (6, 9):
        length = np.array([time, 3, 1, 0], np.int32)
        shape = (4, time) if request.param == "word" else (4, time, 3)
        words = rng.integers(1, 9, shape).astype(np.int32)
        mask = np.arange(time) < length[:, None]
        words *= mask.reshape(mask.shape + (1,) * (words.ndim - 2))
        labels = rng.integers(0, 2, (4, time)).astype(np.int32) * mask
        batches.append(({"words": words, "length": length}, labels, mask.astype(np.float32)))
    return model, batches


@pytest.mark.parametrize("decision", ["viterbi", "marginals"])
def test_measures_beside_a_loop(case, decision):
    model, batches = case
    callback = calibration.KeepBias(batches, decision)
    callback.set_model(model)
    f1, ratio, target = callback.measure()
    logits, decoder, encoder = parts(model)
    for i in (0, 17, 30, 36, 60):
        scores, ratios, targets = [], [], []
        for inputs, labels, _ in batches:
            inputs = dict(inputs)
            if encoder:
                inputs["vectors"] = encoder(inputs.pop("words"))
            bias = tf.constant(calibration.BIASES[i], tf.float32)
            kept = decoder.keeps(logits(inputs), inputs["length"], decision, bias).numpy()
            for a, b, n in zip(kept, labels, inputs["length"], strict=True):
                if n:
                    both = a.sum() + b.sum()
                    scores.append(2 * (a & (b > 0)).sum() / both if both else 1.0)
                    ratios.append(a.sum() / n)
                    targets.append(b.sum() / n)
        assert f1[i] == pytest.approx(np.mean(scores))
        assert ratio[i] == pytest.approx(np.mean(ratios))
        assert target == pytest.approx(np.mean(targets))
    assert (np.diff(ratio) >= 0).all()


def test_the_model_gets_the_best_bias(case):
    model, batches = case
    callback, logs = calibration.KeepBias(batches, "viterbi"), {}
    callback.set_model(model)
    callback.on_epoch_end(0, logs)
    i = calibration.choose(*callback.measure())
    keep_bias = model.get_layer("decoder").keep_bias
    assert float(keep_bias.numpy()) == pytest.approx(calibration.BIASES[i])
    assert logs["val_f1"] == pytest.approx(100 * callback.measure()[0][i])
    assert logs["val_f1"] + logs["val_error"] == pytest.approx(100)
