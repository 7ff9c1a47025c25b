"""Independent labels beside NumPy, those of the CRF beside `LinearChainCRF`, and the bias."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.extractive_summarization.labels import LabelCrossentropy, LabelDecoder
from shared.layers.crf import LinearChainCRF

LOGITS = np.random.default_rng(0).normal(size=(4, 5, 2)).astype(np.float32)
LENGTH = np.array([5, 3, 0, 1], np.int32)
MASK = np.arange(5) < LENGTH[:, None]


def decoder(kind):
    layer = LabelDecoder(kind)
    layer.build(LOGITS.shape)
    if kind == "crf":
        layer.crf.transitions.assign([[1.0, -0.5], [0.3, 0.8]])
        layer.crf.start.assign([0.2, -0.4])
    return layer


def test_independent_labels():
    layer = decoder("independent")
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
    log_p = layer(LOGITS, LENGTH).numpy()
    for j in range(2):
        np.testing.assert_allclose(
            log_p[..., j], np.where(MASK[..., None], np.log(p), 0), atol=1e-6
        )
    np.testing.assert_allclose(
        layer.probability(LOGITS, LENGTH), np.where(MASK, p[..., 1], 0), atol=1e-6
    )
    for decision in ("viterbi", "marginals"):
        kept = layer.keeps(LOGITS, LENGTH, decision).numpy()
        assert kept.tolist() == (MASK & (p[..., 1] > 0.5)).tolist()


def test_labels_of_the_crf():
    layer, crf = decoder("crf"), LinearChainCRF(2)
    crf.build(LOGITS.shape)
    crf.set_weights(layer.crf.get_weights())
    np.testing.assert_allclose(layer(LOGITS, LENGTH), crf(LOGITS, LENGTH), atol=1e-6)
    p = crf.marginals(LOGITS, LENGTH).numpy()[..., 1]
    np.testing.assert_allclose(layer.probability(LOGITS, LENGTH), p, atol=1e-6)
    assert layer.keeps(LOGITS, LENGTH, "marginals").numpy().tolist() == (p > 0.5).tolist()
    path = crf.decode(LOGITS, LENGTH).numpy() == 1
    assert layer.keeps(LOGITS, LENGTH, "viterbi").numpy().tolist() == path.tolist()


@pytest.mark.parametrize("kind", ["crf", "independent"])
def test_the_bias_changes_only_what_is_kept(kind):
    layer = decoder(kind)
    before = layer(LOGITS, LENGTH), layer.probability(LOGITS, LENGTH)
    layer.keep_bias.assign(30.0)
    for a, b in zip(
        before, (layer(LOGITS, LENGTH), layer.probability(LOGITS, LENGTH)), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    for decision in ("viterbi", "marginals"):
        assert layer.keeps(LOGITS, LENGTH, decision).numpy().tolist() == MASK.tolist()
        assert not layer.keeps(LOGITS, LENGTH, decision, -30.0).numpy().any()
        biases = np.array([[-30.0], [30.0], [0.0], [-30.0]], np.float32)
        kept = layer.keeps(LOGITS, LENGTH, decision, biases).numpy()
        assert kept.sum(1).tolist() == [0, 3, 0, 0]
    assert not layer.keep_bias.trainable


@pytest.mark.parametrize("kind", ["crf", "independent"])
def test_loss_is_averaged_over_the_weights(kind):
    layer = decoder(kind)
    labels = np.random.default_rng(1).integers(0, 2, (4, 5))
    log_p = layer(LOGITS, LENGTH)
    loss = LabelCrossentropy()(labels, log_p, MASK.astype(np.float32))
    if kind == "crf":
        total = -layer.crf.log_likelihood(LOGITS, labels, LENGTH).numpy().sum()
    else:
        chosen = np.take_along_axis(log_p.numpy()[..., 0], labels[..., None], -1)
        total = -chosen.sum()
    assert float(loss) == pytest.approx(total / MASK.sum(), rel=1e-5)


def test_config_and_mixed_precision():
    layer = LabelDecoder.from_config(LabelDecoder("crf", name="decoder").get_config())
    assert layer.kind == "crf"
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = LabelDecoder("independent")
        assert layer(tf.cast(LOGITS, tf.bfloat16), LENGTH).dtype == tf.float32
        assert layer.keep_bias.dtype == "float32"
    finally:
        keras.config.set_dtype_policy("float32")
