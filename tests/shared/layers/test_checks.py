"""Masks, lengths and initial states of a wrong shape: known in Python, or only when the graph runs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.layers.attention import Attention
from shared.layers.attention_decoder import AttentionDecoder
from shared.layers.encoder import BidirectionalEncoder
from shared.layers.masking import padding_mask
from shared.layers.peephole_lstm import PeepholeLSTM, PeepholeLSTMCell
from shared.layers.recurrent import CELLS, RecurrentStack

B, T, D, H = 4, 6, 3, 5
MASK = np.random.default_rng(5).random((B, T)) < 0.6
LAYERS = {
    "peephole_lstm": lambda: PeepholeLSTM(H, return_sequences=True),
    "bidirectional": lambda: keras.layers.Bidirectional(PeepholeLSTM(H, return_sequences=True)),
    "unrolled": lambda: PeepholeLSTM(H, return_sequences=True, unroll=True),
    **{f"stack_{cell}": lambda cell=cell: RecurrentStack(cell, H) for cell in CELLS},
    "attention": Attention,
}
# Masks that `keras.layers.LSTM` refuses, at least when it runs eagerly.
WRONG_MASKS = {
    "short": MASK[:, :4],
    "long": np.concatenate([MASK, MASK], axis=1),
    "one_step": MASK[:, :1],
    "few_rows": MASK[:2],
    "many_rows": np.concatenate([MASK, MASK]),
    "transposed": MASK.T,
    "wide": np.repeat(MASK[..., None], 2, axis=2),
    "rank_1": MASK[0],
    "rank_4": MASK[..., None, None],
    "rows_in_a_list": list(MASK),
}
MASK_ERROR = r"`mask` must have the shape \(batch, time\) or \(batch, time, 1\) of the sequences"


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def caller(layer):
    """Returns a function from (x, mask, training) to the output of a layer."""

    def call(x, mask, training=False):
        if isinstance(layer, Attention):
            return layer(tf.ones([tf.shape(x)[0], 2, H]), x, mask=mask)[0]
        y = layer(x, mask=mask, training=training)
        return y[0] if isinstance(layer, RecurrentStack) else y

    return call


@pytest.mark.parametrize("mask", WRONG_MASKS)
@pytest.mark.parametrize("name", LAYERS)
def test_a_mask_of_a_known_wrong_shape(name, mask):
    call, x, mask = caller(LAYERS[name]()), random(B, T, D), WRONG_MASKS[mask]
    with pytest.raises(ValueError, match=MASK_ERROR):
        call(x, mask)
    with pytest.raises(ValueError, match=MASK_ERROR):
        tf.function(lambda: call(tf.constant(x), mask, training=True), autograph=False)()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", [name for name in LAYERS if name != "unrolled"])
def test_a_mask_of_an_unknown_wrong_shape(name, training):
    call = caller(LAYERS[name]())
    spec = [tf.TensorSpec([None, None, D]), tf.TensorSpec([None, None], tf.bool)]
    step = tf.function(
        lambda x, mask: call(x, mask, training), input_signature=spec, autograph=False
    )
    x = random(B, T, D)
    assert step(x, MASK).shape[0] == B
    for wrong in ("short", "long", "one_step", "few_rows", "many_rows"):
        with pytest.raises(tf.errors.InvalidArgumentError, match="`mask` must have the shape"):
            step(x, WRONG_MASKS[wrong])


@pytest.mark.parametrize("name", LAYERS)
def test_masks_that_are_accepted(name):
    """Rank 3, other types, and one row for all rows give what `keras.layers.LSTM` gives."""
    call, x = caller(LAYERS[name]()), random(B, T, D)
    expected = call(x, MASK)
    assert np.abs(expected - call(x, None)).max() > 0
    same = MASK[..., None], MASK.astype("int32"), MASK * np.float32(0.5), [MASK], [MASK, None]
    for mask in (*same, MASK.tolist()):
        np.testing.assert_array_equal(call(x, mask), expected)
    all_rows = np.repeat(MASK[:1], B, axis=0)
    np.testing.assert_array_equal(call(x, MASK[:1]), call(x, all_rows))
    spec = [tf.TensorSpec([None, None, D]), tf.TensorSpec([None, None, None], tf.bool)]
    if name != "unrolled":
        step = tf.function(call, input_signature=spec, autograph=False)
        np.testing.assert_allclose(step(x, MASK[..., None]), expected, atol=1e-6)
        np.testing.assert_allclose(step(x, MASK[:1, :, None]), call(x, all_rows), atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"unroll": True}, {"go_backwards": True}], ids=str)
@pytest.mark.parametrize("mask", [MASK[..., None], MASK[:1], MASK * 2], ids=["3", "row", "int"])
def test_such_masks_in_training_equal_keras(mask, options):
    x, results = tf.constant(random(B, T, D)), []
    for cls in PeepholeLSTM, keras.layers.LSTM:
        keras.utils.set_random_seed(1)
        layer = cls(H, return_sequences=True, zero_output_for_mask=True, **options)
        step = tf.function(lambda layer=layer: layer(x, mask=mask, training=True), autograph=False)
        results.append(step())
    np.testing.assert_allclose(*results, atol=1e-6)


def test_fit_refuses_a_mask_of_another_length():
    x = keras.Input((None, D))
    mask = keras.Input((None,), dtype="bool")
    model = keras.Model([x, mask], PeepholeLSTM(H)(x, mask=mask))
    model.compile("sgd", "mse")
    model.fit([random(B, T, D), MASK], random(B, H), verbose=0)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="`mask` must have"):
        model.fit([random(B, T, D), MASK[:, :4]], random(B, H), verbose=0)


def test_a_mask_of_an_empty_sequence():
    layer = PeepholeLSTM(H)
    assert layer(random(B, 0, D), mask=MASK[:, :0]).shape == (B, H)
    with pytest.raises(ValueError, match=MASK_ERROR):
        layer(random(B, 0, D), mask=MASK)


# --- Lengths -------------------------------------------------------------------------------------

WRONG_LENGTHS = {
    "negative": ([3, -1, 2, 6], "must be from 0 to the number of time steps"),
    "beyond the last step": ([3, 7, 2, 6], "must be from 0 to the number of time steps"),
    "few": ([3, 1], "must be int (batch,)"),
    "one": ([3], "must be int (batch,)"),
    "rank 2": ([[3], [1], [2], [6]], "must be int (batch,)"),
    "float": ([3.0, 1.0, 2.0, 6.0], "must be int (batch,)"),
}


@pytest.mark.parametrize("name", WRONG_LENGTHS)
def test_wrong_lengths(name):
    length, message = WRONG_LENGTHS[name]
    length, x = np.array(length), tf.constant(random(B, T, D))
    encoder = BidirectionalEncoder("gru", H)
    decoder = AttentionDecoder("gru", H, output_dim=2)
    for call in (
        lambda: padding_mask(length, x),
        lambda: encoder(x, length),
        lambda: decoder(x, x, length),
        lambda: decoder.initial_states(x, length),
    ):
        with pytest.raises(ValueError) as error:  # noqa: PT011
            call()
        assert f"`length` {message}" in str(error.value)
    if length.ndim == 1 and length.dtype.kind == "i":
        spec = [tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, None, D])]
        call = tf.function(padding_mask, input_signature=spec, autograph=False)
        with pytest.raises(tf.errors.InvalidArgumentError, match="`length` must be from 0"):
            call(length, x)


# --- Initial states ------------------------------------------------------------------------------

h = random(B, H)
WRONG_STATES = {
    "one": ([h], f"Received 1: shape ({B}, {H})"),
    "three": ([h] * 3, f"Received 3: shape ({B}, {H}), shape ({B}, {H}), shape ({B}, {H})"),
    "none": ([], "Received 0: "),
    "a tensor": (h, f"Received: shape ({B}, {H})"),
    "a stacked tensor": (np.stack([h, h]), f"Received: shape (2, {B}, {H})"),
    "other units": ([h, h[:, :2]], f"Received: shape ({B}, {H}), shape ({B}, 2)"),
    "other rows": ([h, h[:2]], f"Received: shape ({B}, {H}), shape (2, {H}), for a batch of shape"),
    "one row": ([h[:1], h[:1]], f"Received: shape (1, {H}), shape (1, {H}), for a batch of shape"),
    "rank 3": ([h, h[None]], f"Received: shape ({B}, {H}), shape (1, {B}, {H})"),
}
STATES_ERROR = f"`initial_state` must be a list of 2 tensors of shape (batch, {H})."


@pytest.mark.parametrize("name", WRONG_STATES)
@pytest.mark.parametrize("make", [LAYERS["peephole_lstm"], LAYERS["stack_lstm"]])
def test_wrong_initial_states(make, name):
    states, message = WRONG_STATES[name]
    layer, x = make(), tf.constant(random(B, T, D))
    for call in (
        lambda: layer(x, initial_state=states),
        tf.function(lambda: layer(x, initial_state=states, training=True), autograph=False),
    ):
        with pytest.raises(ValueError) as error:  # noqa: PT011
            call()
        assert f"{STATES_ERROR} {message}" in str(error.value)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("make", [LAYERS["peephole_lstm"], LAYERS["stack_lstm"]])
def test_initial_states_of_unknown_rows(make, training):
    layer = make()
    spec = [tf.TensorSpec([None, None, D]), *[tf.TensorSpec([None, H])] * 2]
    step = tf.function(
        lambda x, h, c: layer(x, initial_state=[h, c], training=training),
        input_signature=spec,
        autograph=False,
    )
    x = random(B, T, D)
    step(x, h, h)
    for rows in (0, 1, 2):
        with pytest.raises(tf.errors.InvalidArgumentError, match="`initial_state` must be a list"):
            step(x, h, h[:rows])


def test_wrong_states_of_a_step():
    x, stack = random(B, D), RecurrentStack("peephole_lstm", H, num_layers=2)
    stack.build((B, T, D))
    for states, received in ([h] * 2, "2: shape"), ([h] * 5, "5: shape"):
        with pytest.raises(ValueError, match=rf"`states` must be a list of 4 .* {received}"):
            stack.step(x, states)
    for states, received in ([h], "Received 1"), ([h] * 3, "Received 3"), (h, "Received: shape"):
        with pytest.raises(ValueError, match=rf"`states` must be a list of 2 .* {received}"):
            PeepholeLSTMCell(H)(x, states)
    with pytest.raises(ValueError, match=r"`states` must be a list of 2 .* shape \(4, 2\)"):
        PeepholeLSTMCell(H)(x, [h, h[:, :2]])


def test_a_stateful_layer_refuses_other_rows():
    x = random(B, T, D)
    layer = PeepholeLSTM(H, stateful=True)
    layer(x)
    with pytest.raises(ValueError, match="batch size"):
        layer(x[:2])
    spec = [tf.TensorSpec([None, None, D])]
    step = tf.function(lambda x: layer(x), input_signature=spec, autograph=False)
    assert step(x).shape == (B, H)
    with pytest.raises(tf.errors.InvalidArgumentError, match="This stateful layer reads 4 rows"):
        step(x[:1])
