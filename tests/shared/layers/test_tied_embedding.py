"""TiedEmbedding: its equations, its files, and its sampled softmax against the full softmax."""

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


def layer_of(num_sampled=0, **options):
    layer = TiedEmbedding(V, D, num_sampled=num_sampled, seed=4, **options)
    layer.build()
    for i, v in enumerate(layer.trainable_variables):
        v.assign(random(*v.shape, seed=i) * 0.5)
    return layer


def test_it_equals_its_equations():
    layer, ids, y = layer_of(), tokens(), random(B, T, D)
    E, b = (np.asarray(v) for v in layer.trainable_variables)
    np.testing.assert_array_equal(layer(ids), E[ids])
    np.testing.assert_allclose(layer(y, reverse=True), y @ E.T + b, rtol=1e-4, atol=1e-5)


def test_the_initial_bias_is_zipfs_law():
    layer = TiedEmbedding(V, D)
    layer.build()
    np.testing.assert_allclose(np.exp(layer.bias) * (np.arange(V) + 2.7), 1, rtol=1e-5)


def test_the_bias_is_saved_and_loaded(tmp_path):
    ids = keras.Input((None,), dtype="int32")
    layer = TiedEmbedding(V, 4, name="tied")
    model = keras.Model(ids, layer(layer(ids), reverse=True))
    layer.bias.assign(np.arange(V) * 1.5)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded.get_layer("tied").bias, np.arange(V) * 1.5)
    np.testing.assert_array_equal(loaded(tokens()), model(tokens()))
    model.save_weights(tmp_path / "m.weights.h5")
    layer.bias.assign(np.zeros(V))
    model.load_weights(tmp_path / "m.weights.h5")
    np.testing.assert_array_equal(layer.bias, np.arange(V) * 1.5)


def test_mixed_precision():
    layer = TiedEmbedding(V, 4, dtype="mixed_bfloat16")
    y = layer(layer(tokens()), reverse=True)
    assert y.dtype == tf.float32
    assert layer.bias.dtype == "float32"


# --- The sampled softmax -------------------------------------------------------------------------


def test_training_returns_the_vectors_for_the_sampled_loss():
    layer, y = layer_of(4), random(B, T, D)
    np.testing.assert_array_equal(layer(y, reverse=True, training=True), y)
    assert layer(y, reverse=True).shape == (B, T, V)
    assert layer_of(0)(y, reverse=True, training=True).shape == (B, T, V)


def test_the_sampled_sum_is_unbiased():
    """exp(loss) is the sum of the softmax divided by exp(l_t); its mean must be the exact value."""
    layer, y, targets = layer_of(4), random(B, T, D, seed=7), tokens(1)
    exact = np.exp(LOSS(targets, layer(y, reverse=True)))
    draw = tf.function(lambda: tf.exp(layer.sampled_loss(y, targets)), autograph=False)
    draws = np.stack([draw() for _ in range(4000)])
    assert draws.shape == (4000, B, T)
    assert draws.std(0).min() > 0
    error = draws.std(0) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(0) - exact) < 5 * error + 1e-3).all()


def test_sampled_gradients_are_dense_and_nearly_unbiased():
    layer, y, targets = layer_of(V - 1), tf.constant(random(B, T, D, seed=7)), tokens(1)
    weights = [v.value for v in layer.trainable_variables]

    def gradients(loss):
        with tf.GradientTape() as tape:
            tape.watch(y)
            value = tf.reduce_mean(loss())
        return tape.gradient(value, [y, *weights])

    sampled = tf.function(
        lambda: gradients(lambda: layer.sampled_loss(y, targets)), autograph=False
    )
    samples = [sampled() for _ in range(300)]
    # Keras's global norm of a sparse gradient with repeated rows would be wrong.
    assert all(isinstance(g, tf.Tensor) for g in samples[0])
    exact = gradients(lambda: LOSS(targets, layer(y, reverse=True)))
    for draws, gradient in zip(zip(*samples, strict=True), exact, strict=True):
        gradient = tf.convert_to_tensor(gradient)
        np.testing.assert_allclose(np.mean(draws, 0), gradient, atol=0.1 * np.abs(gradient).max())


def test_a_checkpoint_restores_the_draws():
    layer, y, targets = layer_of(4), random(B, T, D), tokens(1)
    assert any(v is layer.seed_generator.state for v in layer.variables)
    before = layer.seed_generator.state.numpy()
    first, second = (layer.sampled_loss(y, targets).numpy() for _ in range(2))
    assert (first != second).any()
    layer.seed_generator.state.assign(before)
    np.testing.assert_array_equal(layer.sampled_loss(y, targets), first)
