"""Every layer under float32, mixed and float64 dtype policies: outputs, gradients and saved files."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.layers.attention import Attention
from shared.layers.attention_decoder import AttentionDecoder
from shared.layers.encoder import BidirectionalEncoder
from shared.layers.peephole_lstm import PeepholeLSTM, PeepholeLSTMCell
from shared.layers.recurrent import CELLS, RecurrentStack
from shared.layers.tied_embedding import TiedEmbedding

B, T, D, H, V = 3, 5, 4, 6, 11
LENGTH = np.array([5, 3, 0], np.int32)
MASK = np.arange(T) < LENGTH[:, None]
POLICIES = {"float32": 1e-5, "mixed_bfloat16": 0.1, "mixed_float16": 0.01, "float64": 1e-5}
policies = pytest.mark.parametrize("policy", POLICIES)

LAYERS = {
    "peephole_lstm": lambda: PeepholeLSTM(H, return_sequences=True),
    "backwards": lambda: PeepholeLSTM(H, go_backwards=True, recurrent_dropout=0.0, unroll=True),
    "rnn_of_the_cell": lambda: keras.layers.RNN(PeepholeLSTMCell(H), return_sequences=True),
    "bidirectional": lambda: keras.layers.Bidirectional(PeepholeLSTM(H)),
    **{f"stack_{cell}": lambda cell=cell: RecurrentStack(cell, H, 2, True) for cell in CELLS},
    "encoder": lambda: BidirectionalEncoder("peephole_lstm", H, layer_norm=True),
    "attention_additive": lambda: Attention("additive", H),
    "attention_general": lambda: Attention("general"),
    "decoder": lambda: AttentionDecoder("peephole_lstm", H, D, 2, layer_norm=True),
    "decoder_with_input_feeding": lambda: AttentionDecoder("lstm", H, D, input_feeding=True),
    "tied_embedding": lambda: TiedEmbedding(V, D),
}


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture(autouse=True)
def _default_policy():
    yield
    keras.config.set_dtype_policy("float32")
    keras.config.set_floatx("float32")


def use(policy):
    """Sets the global policy, as a user does in a script or in keras.json."""
    if policy == "float64":
        keras.config.set_floatx("float64")
    keras.config.set_dtype_policy(policy)


def model_of(name, policy):
    """Returns a functional model of one layer under a global policy, with random weights."""
    use(policy)
    layer, x = LAYERS[name](), keras.Input((T, D))
    length, mask = keras.Input((), dtype="int32"), keras.Input((T,), dtype="bool")
    if isinstance(layer, BidirectionalEncoder):
        y = layer(x, length)
    elif isinstance(layer, AttentionDecoder):
        y = layer(x, x, length)
    elif isinstance(layer, Attention):
        y = layer(x, x, mask=mask)[0]
    elif isinstance(layer, TiedEmbedding):
        y = layer(x, reverse=True)
    else:
        y = layer(x, mask=mask)
    y = y[0] if isinstance(y, (tuple, list)) else y
    model = keras.Model([x, length, mask], y)
    for i, v in enumerate(model.trainable_variables):
        v.assign(random(*v.shape, seed=i) * 0.5)
    return model


def data():
    return [tf.constant(random(B, T, D)), tf.constant(LENGTH), tf.constant(MASK)]


@policies
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, policy, tmp_path):
    expected = np.asarray(model_of(name, "float32")(data()))
    model = model_of(name, policy)
    types = keras.dtype_policies.get(policy)
    output = types.variable_dtype if name == "tied_embedding" else types.compute_dtype
    y = model(data())
    assert y.dtype == model.outputs[0].dtype == output
    np.testing.assert_allclose(np.asarray(tf.cast(y, tf.float32)), expected, atol=POLICIES[policy])
    for variable in model.trainable_variables:
        assert variable.dtype == types.variable_dtype
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.cast(model(data(), training=True), tf.float32) ** 2)
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
    ):
        assert gradient.dtype == types.variable_dtype, variable.path
        assert np.isfinite(gradient).all(), variable.path
        assert np.abs(gradient).max() > 0, variable.path

    model.save(tmp_path / "m.keras")
    if name != "tied_embedding":  # outside a mixed model, Keras rounds the weights of an embedding
        keras.config.set_dtype_policy("float32")  # the file has the policy of each layer
    loaded = keras.saving.load_model(tmp_path / "m.keras", compile=False)
    np.testing.assert_array_equal(loaded(data()), y)
    assert [layer.dtype_policy.name for layer in loaded.layers[3:]] == [
        layer.dtype_policy.name for layer in model.layers[3:]
    ]


@policies
def test_the_training_path(policy):
    """The compiled path in `fit`, with a mask, against float32."""

    def gradients(policy):
        layer = PeepholeLSTM(H, return_sequences=True, dtype=policy)
        layer.build((B, T, D))
        for i, v in enumerate(layer.trainable_variables):
            v.assign(random(*v.shape, seed=i) * 0.5)

        @tf.function(autograph=False)
        def step(x):
            with tf.GradientTape() as tape:
                y = layer(x, mask=MASK, training=True)
                loss = tf.reduce_sum(tf.cast(y, tf.float32) ** 2)
            return y, tape.gradient(loss, [v.value for v in layer.trainable_variables])

        y, gradients = step(tf.constant(random(B, T, D), layer.compute_dtype))
        assert y.dtype == layer.compute_dtype
        assert {g.dtype.name for g in gradients} == {layer.variable_dtype}
        return [tf.cast(a, tf.float32).numpy() for a in (y, *gradients)]

    tolerance = {"mixed_bfloat16": 0.1, "mixed_float16": 0.02}.get(policy, 1e-5)
    for result, expected in zip(gradients(policy), gradients("float32"), strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(result / scale, expected / scale, atol=tolerance)


@policies
def test_sampled_loss(policy):
    def loss(policy):
        use(policy)
        layer = TiedEmbedding(V, D, num_sampled=5, seed=1)
        layer.build()
        for i, v in enumerate(layer.trainable_variables):
            v.assign(random(*v.shape, seed=i) * 0.5)
        targets = np.arange(B * T).reshape(B, T) % V
        y = tf.cast(random(B, T, D), layer.compute_dtype)
        with tf.GradientTape() as tape:
            losses = layer.sampled_loss(layer(y, reverse=True, training=True), targets)
        assert losses.dtype == tf.float32
        gradients = tape.gradient(losses, layer.trainable_variables)
        assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients)
        return losses.numpy()

    expected = loss("float32")
    np.testing.assert_allclose(loss(policy), expected, atol=POLICIES[policy])
