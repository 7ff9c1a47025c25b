"""AttentionDecoder: whole sequences against single steps, beams, padding, and saved files."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.layers.attention_decoder import AttentionDecoder
from shared.layers.masking import padding_mask
from shared.layers.recurrent import CELLS

B, S, T, D, H, M, O = 3, 6, 5, 4, 4, 7, 3  # noqa: E741
LENGTH = np.array([6, 4, 1], np.int32)
options = pytest.mark.parametrize(
    "arguments",
    [
        {"num_layers": 1},
        {"num_layers": 2},
        {"num_layers": 3, "layer_norm": True, "score": "general"},
        {"num_layers": 2, "input_feeding": True},
        {"num_layers": 1, "input_feeding": True, "layer_norm": True},
    ],
    ids=str,
)
lengths = pytest.mark.parametrize("length", [LENGTH, None], ids=["length", "no_length"])


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def decoder_of(cell="peephole_lstm", **arguments):
    """Returns a built decoder with random weights."""
    decoder = AttentionDecoder(cell, H, O, **arguments)
    decoder.build((None, None, D), (None, None, M))
    for i, v in enumerate(decoder.trainable_variables):
        v.assign(random(*v.shape, seed=i) * 0.6)
    return decoder


def inputs():
    return tf.constant(random(B, T, D)), tf.constant(random(B, S, M, seed=9))


def assert_close(result, expected):
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def single_steps(decoder, x, memory, length):
    """Returns outputs and attention weights of `step`, called for each time step."""
    keys, mask = decoder.attention.keys(memory), padding_mask(length, memory)
    states, outputs, weights = decoder.initial_states(memory, length), [], []
    for t in range(x.shape[1]):
        o, states, a = decoder.step(x[:, t], states, memory, keys, mask)
        outputs.append(o)
        weights.append(a)
    return np.stack(outputs, 1), np.stack(weights, 1)


@lengths
@options
def test_attention_is_returned_on_request(arguments, length):
    decoder, (x, memory) = decoder_of(**arguments), inputs()
    o, a = decoder(x, memory, length, return_attention=True)
    assert_close(o, decoder(x, memory, length))
    assert_close(a, decoder.attention_weights(x, memory, length))
    o, a = decoder(keras.Input((T, D)), keras.Input((S, M)), return_attention=True)
    assert (o.shape, a.shape) == ((None, T, O), (None, T, S))


@lengths
@options
def test_whole_sequences_equal_single_steps(arguments, length):
    decoder, (x, memory) = decoder_of(**arguments), inputs()
    outputs, weights = single_steps(decoder, x, memory, length)
    assert outputs.shape == (B, T, O)
    assert_close(decoder(x, memory, length), outputs)
    assert_close(decoder.attention_weights(x, memory, length), weights)
    assert_close(weights.sum(-1), np.ones((B, T)))


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell(cell):
    decoder, (x, memory) = decoder_of(cell, num_layers=2), inputs()
    assert_close(decoder(x, memory, LENGTH), single_steps(decoder, x, memory, LENGTH)[0])


@options
def test_no_length_means_that_all_steps_are_real(arguments):
    decoder, (x, memory) = decoder_of(**arguments), inputs()
    full = np.full(B, S)
    assert_close(decoder(x, memory), decoder(x, memory, full))
    assert_close(decoder.attention_weights(x, memory), decoder.attention_weights(x, memory, full))
    for a, b in zip(
        decoder.initial_states(memory), decoder.initial_states(memory, full), strict=True
    ):
        assert_close(a, b)


@options
def test_padding_of_the_memory_has_no_effect(arguments):
    decoder, (x, memory) = decoder_of(**arguments), inputs()
    outputs = decoder(x, memory, LENGTH)
    for row, n in enumerate(LENGTH):
        expected = decoder(x[row : row + 1], memory[row : row + 1, :n])
        assert_close(outputs[row : row + 1], expected)


@lengths
@options
def test_hypotheses_of_a_beam_are_independent(arguments, length):
    """Two hypotheses of each row in one step equal two separate steps."""
    decoder, (_, memory) = decoder_of(**arguments), inputs()
    keys, mask = decoder.attention.keys(memory), padding_mask(length, memory)
    states = [
        tf.repeat(s, 2, axis=0) + random(2 * B, s.shape[1], seed=3)
        for s in decoder.initial_states(memory, length)
    ]
    x = tf.constant(random(2 * B, D, seed=4))
    beam = decoder.step(x, states, memory, keys, mask)
    for k in range(2):
        expected = decoder.step(x[k::2], [s[k::2] for s in states], memory, keys, mask)
        for a, b in zip(tf.nest.flatten(beam), tf.nest.flatten(expected), strict=True):
            assert_close(a[k::2], b)


def test_dropout_is_drawn_from_the_seed_in_training_only():
    x, memory = inputs()
    arguments = {"num_layers": 3, "dropout": 0.5, "recurrent_dropout": 0.3}
    one, two, other = (decoder_of(**arguments, seed=seed) for seed in (1, 1, 2))
    outputs = one(x, memory, training=True)
    np.testing.assert_array_equal(outputs, two(x, memory, training=True))
    assert (outputs != other(x, memory, training=True)).numpy().any()
    np.testing.assert_array_equal(one(x, memory), other(x, memory))


@lengths
@options
def test_mixed_precision(arguments, length):
    x, memory = inputs()
    outputs = decoder_of(**arguments, dtype="mixed_bfloat16")(x, memory, length)
    assert outputs.dtype == tf.bfloat16
    expected = decoder_of(**arguments)(x, memory, length)
    np.testing.assert_allclose(np.asarray(outputs, np.float32), expected, atol=0.1)


@pytest.mark.parametrize("with_length", [False, True])
@options
def test_a_saved_model_is_loaded(arguments, with_length, tmp_path):
    tensors = [keras.Input((None, D)), keras.Input((S, M))]
    tensors += [keras.Input((), dtype="int32")] * with_length
    decoder = AttentionDecoder("lstm", H, O, **arguments, seed=3, name="decoder")
    model = keras.Model(tensors, decoder(*tensors))
    assert model.output_shape == (None, None, O)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    data = [*inputs(), tf.constant(LENGTH)][: 2 + with_length]
    np.testing.assert_array_equal(loaded(data), model(data))
    assert loaded.get_layer("decoder").get_config() == decoder.get_config()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_layers": 0}, "`num_layers` must be a positive integer. Received: 0"),
        (
            {"input_feeding": True, "recurrent_dropout": 0.1},
            "`input_feeding` requires `recurrent_dropout=0`. Received: recurrent_dropout=0.1",
        ),
    ],
)
def test_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        AttentionDecoder("gru", H, O, **arguments)
