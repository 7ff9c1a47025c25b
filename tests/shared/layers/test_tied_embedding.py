"""The tied embedding: its equations and its files; and its sampled softmax against the exact one."""

import keras
import numpy as np
import tensorflow as tf

from shared.layers.tied_embedding import TiedEmbedding

B, T, V, D = 3, 6, 11, 5
LOSS = tf.nn.sparse_softmax_cross_entropy_with_logits


def tokens(seed=0):
    return np.random.default_rng(seed).integers(0, V, (B, T)).astype(np.int32)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def layer_of(sampled=0, **options):
    layer = TiedEmbedding(V, D, sampled=sampled, seed=4, **options)
    layer.build()
    for i, v in enumerate(layer.trainable_variables):
        v.assign(random(*v.shape, seed=i) * 0.5)
    return layer


def test_it_is_its_equations():
    layer, ids, y = layer_of(), tokens(), random(B, T, D)
    E, b = (np.asarray(v) for v in layer.trainable_variables)
    np.testing.assert_array_equal(layer(ids), E[ids])
    np.testing.assert_allclose(layer(y, reverse=True), y @ E.T + b, rtol=1e-4, atol=1e-5)


def test_the_bias_begins_at_zipfs_law():
    layer = TiedEmbedding(V, D)
    layer.build()
    np.testing.assert_allclose(np.exp(layer.bias) * (np.arange(V) + 2.7), 1, rtol=1e-5)


def test_it_keeps_its_bias(tmp_path):
    ids = keras.Input((None,), dtype="int32")
    layer = TiedEmbedding(V, 4, name="tied")
    model = keras.Model(ids, layer(layer(ids), reverse=True))
    layer.bias.assign(np.arange(V) * 1.5)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.get_layer("tied").bias, np.arange(V) * 1.5)
    np.testing.assert_array_equal(again(tokens()), model(tokens()))
    model.save_weights(tmp_path / "m.weights.h5")
    layer.bias.assign(np.zeros(V))
    model.load_weights(tmp_path / "m.weights.h5")
    np.testing.assert_array_equal(layer.bias, np.arange(V) * 1.5)


def test_half_precision():
    layer = TiedEmbedding(V, 4, dtype="mixed_bfloat16")
    y = layer(layer(tokens()), reverse=True)
    assert y.dtype == tf.bfloat16
    assert layer.bias.dtype == "float32"


# --- The sampled softmax -------------------------------------------------------------------------


def test_training_leaves_the_vectors_to_the_sampled_loss():
    layer, y = layer_of(4), random(B, T, D)
    np.testing.assert_array_equal(layer(y, reverse=True, training=True), y)
    assert layer(y, reverse=True).shape == (B, T, V)
    assert layer_of(0)(y, reverse=True, training=True).shape == (B, T, V)


def test_the_sampled_sum_is_right_on_average():
    """exp(loss) is the softmax's sum over exp(l_t): its mean over many draws, against the exact one."""
    layer, y, targets = layer_of(4), random(B, T, D, seed=7), tokens(1)
    exact = np.exp(LOSS(targets, layer(y, reverse=True)))
    draw = tf.function(lambda: tf.exp(layer.sampled_loss(y, targets)))
    draws = np.stack([draw() for _ in range(4000)])
    assert draws.shape == (4000, B, T)
    assert draws.std(0).min() > 0
    error = draws.std(0) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(0) - exact) < 5 * error + 1e-3).all()


def test_its_gradients_are_dense_and_on_average_nearly_the_softmaxes():
    layer, y, targets = layer_of(V - 1), tf.constant(random(B, T, D, seed=7)), tokens(1)
    weights = [v.value for v in layer.trainable_variables]

    def gradients(loss):
        with tf.GradientTape() as tape:
            tape.watch(y)
            value = tf.reduce_mean(loss())
        return tape.gradient(value, [y, *weights])

    sampled = tf.function(lambda: gradients(lambda: layer.sampled_loss(y, targets)))
    found = [sampled() for _ in range(300)]
    # Of a sparse one Keras's global norm would be wrong: a row may be there twice.
    assert all(isinstance(g, tf.Tensor) for g in found[0])
    exact = gradients(lambda: LOSS(targets, layer(y, reverse=True)))
    for ours, theirs in zip(zip(*found, strict=True), exact, strict=True):
        theirs = tf.convert_to_tensor(theirs)
        np.testing.assert_allclose(np.mean(ours, 0), theirs, atol=0.1 * np.abs(theirs).max())


def test_its_draws_go_on_from_a_checkpoint():
    layer, y, targets = layer_of(4), random(B, T, D), tokens(1)
    assert any(v is layer.draws.state for v in layer.variables)
    before = layer.draws.state.numpy()
    first, second = (layer.sampled_loss(y, targets).numpy() for _ in range(2))
    assert (first != second).any()
    layer.draws.state.assign(before)
    np.testing.assert_array_equal(layer.sampled_loss(y, targets), first)
