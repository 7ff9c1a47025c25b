"""The peephole LSTM against `RNN(PeepholeLSTMCell)` and `keras.layers.LSTM`; padding, states, training."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.layers.peephole_lstm import PeepholeLSTM, PeepholeLSTMCell

B, T, D, H = 4, 6, 3, 5
LSTM_ARGUMENTS = set(inspect.signature(keras.layers.LSTM.__init__).parameters)
CELL_ARGUMENTS = set(inspect.signature(PeepholeLSTMCell.__init__).parameters) - {"self", "kwargs"}
LENGTHS = [6, 0, 4, 1]
# The second row is all padding.
GAPS = (np.random.default_rng(5).random((B, T)) < 0.5) & [[True], [False], [True], [True]]


def random_arrays(*shapes, seed=0, dtype="float32"):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) * 0.7 for shape in shapes]


def random_weights(seed=1, dtype="float32"):
    """Returns W, U, b, p. They differ from gate to gate, so that a test sees two gates swapped."""
    return random_arrays((D, 4 * H), (H, 4 * H), (4 * H,), (3, H), seed=seed, dtype=dtype)


def built(layer, values=None):
    """Builds a layer and sets its weights to `values`, or to random values."""
    layer.build((B, T, D))
    values = random_weights() if values is None else values
    layer.set_weights(values[: len(layer.weights)])
    return layer


def inputs(seed=2):
    """Returns x, h and c."""
    return random_arrays((B, T, D), (B, H), (B, H), seed=seed)


# --- RNN(PeepholeLSTMCell), and LSTM if the peepholes are zero -----------------------------------

OPTIONS = {
    "default": {},
    "sequences_and_state": {"return_sequences": True, "return_state": True},
    "state": {"return_state": True},
    "activations": {"activation": "softsign", "recurrent_activation": "hard_sigmoid"},
    "no_activation": {"activation": None},
    "no_bias": {"use_bias": False},
    "regularizers": {
        "kernel_regularizer": "l2",
        "recurrent_regularizer": "l1",
        "bias_regularizer": "l2",
        "activity_regularizer": "l2",
    },
    "dropout": {"dropout": 0.5},
    "dropout_one": {"dropout": 1.0, "recurrent_dropout": 1.0},
    "recurrent_dropout": {"recurrent_dropout": 0.5, "return_sequences": True},
    "both_dropouts": {"dropout": 0.3, "recurrent_dropout": 0.4, "return_sequences": True},
    "dropouts_unrolled": {"dropout": 0.3, "recurrent_dropout": 0.4, "unroll": True},
    "backwards": {"go_backwards": True, "return_sequences": True, "return_state": True},
    "backwards_unrolled": {"go_backwards": True, "return_sequences": True, "unroll": True},
    "unrolled": {"unroll": True},
    "zero_output": {"zero_output_for_mask": True, "return_sequences": True},
    "zero_output_last": {"zero_output_for_mask": True, "return_state": True},
    "zero_output_unrolled": {"zero_output_for_mask": True, "unroll": True},
    "stateful": {"stateful": True, "return_sequences": True},
}


def run_twice(layer, mask):
    """Returns outputs, losses and gradients of two calls: dropout advances, states are carried."""
    results = []
    for x in random_arrays((B, T, D), (B, T, D), seed=3):
        x = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = tf.nest.flatten(layer(x, mask=mask, training=True))
            loss = sum(tf.reduce_sum(tf.sin(y)) for y in outputs) + sum(layer.losses)
        results += [*outputs, loss]
        results += tape.gradient(loss, [x, *[v.value for v in layer.trainable_variables]])
    return results


def assert_close(results, expected):
    for r, e in zip(results, expected, strict=True):
        assert np.isfinite(r).all()
        np.testing.assert_allclose(r, e, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
def test_the_layer_equals_rnn_of_the_cell_and_without_peepholes_keras_lstm(options, masked):
    options, mask = {"seed": 7, **OPTIONS[options]}, GAPS if masked else None
    values = random_weights()
    if not options.get("use_bias", True):
        values = [values[0], values[1], values[3]]
    results = run_twice(built(PeepholeLSTM(H, **options), values), mask)

    cell_options = {k: v for k, v in options.items() if k in CELL_ARGUMENTS}
    rnn_options = {k: v for k, v in options.items() if k not in CELL_ARGUMENTS}
    rnn = keras.layers.RNN(PeepholeLSTMCell(H, **cell_options), **rnn_options)
    assert_close(results, run_twice(built(rnn, values), mask))
    if 0 < options.get("recurrent_dropout", 0) < 1:
        return  # Keras draws a dropout mask for each gate

    values[-1] = np.zeros_like(values[-1])
    results = run_twice(built(PeepholeLSTM(H, **options), values), mask)
    lstm = keras.layers.LSTM(H, use_cudnn=False, **options)
    expected = run_twice(built(lstm, values), mask)
    n = len(expected) // 2  # values per call; the peephole LSTM adds the gradient of its peepholes
    assert_close(results[:n] + results[n + 1 : -1], expected)


def test_recurrent_dropout_uses_one_mask_for_all_gates():
    x, h, c = inputs()
    cell = PeepholeLSTMCell(H, recurrent_dropout=0.5, seed=1)
    cell.build((B, D))
    cell.set_weights(random_weights())
    dropped = cell(x[:, 0], [h, c], training=True)[0]
    mask = cell.get_recurrent_dropout_mask(h).numpy()
    assert set(np.unique(mask)) == {0, 2}
    np.testing.assert_allclose(dropped, cell(x[:, 0], [h * mask, c])[0], atol=1e-6)
    assert np.abs(dropped - cell(x[:, 0], [h, c])[0]).max() > 0.01


def test_it_has_every_argument_of_keras_lstm():
    arguments = set(inspect.signature(PeepholeLSTM.__init__).parameters)
    assert LSTM_ARGUMENTS - arguments == {"use_cudnn"}
    assert set(inspect.signature(keras.layers.LSTMCell.__init__).parameters) <= CELL_ARGUMENTS | {
        "self",
        "kwargs",
    }


def test_a_new_layer_equals_the_keras_lstm_of_the_same_seed():
    x = inputs()[0]
    outputs = []
    for cls in PeepholeLSTM, keras.layers.LSTM:
        keras.utils.set_random_seed(11)
        outputs.append(cls(H)(x))
    np.testing.assert_allclose(*outputs, atol=1e-6)


# --- Padding, empty batches, states --------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap", [lambda x: x, keras.layers.Bidirectional], ids=["forward", "bidirectional"]
)
def test_neither_padding_nor_other_rows_change_a_row(wrap):
    x = inputs()[0]
    layer = wrap(PeepholeLSTM(H, return_sequences=True, return_state=True))
    layer.build((B, T, D))
    values = random_weights(1) + random_weights(2)
    layer.set_weights(values[: len(layer.weights)])
    ys, *states = layer(x, mask=np.arange(T) < np.array(LENGTHS)[:, None])
    for row, n in enumerate(LENGTHS):
        expected_ys, *expected_states = layer(x[row : row + 1, :n])
        np.testing.assert_allclose(ys[row : row + 1, :n], expected_ys, atol=1e-6)
        for state, expected in zip(states, expected_states, strict=True):
            np.testing.assert_allclose(state[row : row + 1], expected, atol=1e-6)


def test_a_fully_masked_row_keeps_its_states_and_returns_zero():
    x, h, c = inputs()
    layer = built(PeepholeLSTM(H, return_state=True))
    y, h_last, c_last = layer(x, initial_state=[h, c], mask=np.zeros((B, T), bool))
    np.testing.assert_array_equal(y, np.zeros((B, H)))
    np.testing.assert_array_equal(h_last, h)
    np.testing.assert_array_equal(c_last, c)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("rows", "steps"), [(0, 3), (2, 0), (0, 0)])
def test_empty_batches_and_sequences(rows, steps, masked, sequences, graph):
    layer = built(PeepholeLSTM(H, return_sequences=sequences, return_state=True))

    def call(x, h, c):
        mask = tf.ones(tf.shape(x)[:2], tf.bool) if masked else None
        with tf.GradientTape() as tape:
            tape.watch(h)
            y, h_last, c_last = layer(x, initial_state=[h, c], mask=mask, training=True)
            loss = sum(map(tf.reduce_sum, (y, h_last, c_last)))
        return y, h_last, c_last, tape.gradient(loss, h)

    if graph:
        spec = [tf.TensorSpec(shape) for shape in ([None, None, D], [None, H], [None, H])]
        call = tf.function(call, input_signature=spec, autograph=False)
    y, h_last, c_last, gradient = call(
        tf.zeros([rows, steps, D]), tf.ones([rows, H]), tf.fill([rows, H], 2.0)
    )
    assert y.shape == ((rows, steps, H) if sequences else (rows, H))
    assert gradient.shape == (rows, H)
    if steps == 0:
        np.testing.assert_array_equal(y, np.zeros(y.shape))
        np.testing.assert_array_equal(h_last, np.ones((rows, H)))
        np.testing.assert_array_equal(c_last, np.full((rows, H), 2.0))


def test_stateful_training_carries_the_states_until_reset_state():
    x = inputs()[0]
    expected = built(PeepholeLSTM(H, return_sequences=True))(x)
    layer = built(PeepholeLSTM(H, return_sequences=True, stateful=True))
    step = tf.function(lambda x: layer(x, training=True), autograph=False)
    for _ in range(2):
        parts = [step(x[:, :2]), step(x[:, 2:])]
        np.testing.assert_allclose(tf.concat(parts, axis=1), expected, atol=1e-6)
        layer.reset_state()


def test_stacks_and_functional_models_with_masks():
    ids = np.array([[3, 1, 2, 0, 0], [4, 0, 0, 0, 0]])

    def model(recurrent_layer):
        keras.utils.set_random_seed(3)
        i = keras.Input((None,), dtype="int32")
        x = keras.layers.Embedding(5, D, mask_zero=True)(i)
        x, h, c = recurrent_layer(return_sequences=True, return_state=True)(x)
        x = recurrent_layer(return_sequences=True)(x, initial_state=[h, c])
        x = keras.layers.Bidirectional(recurrent_layer(return_sequences=True))(x)
        return keras.Model(i, keras.layers.Bidirectional(recurrent_layer())(x))

    layers = model(lambda **kwargs: PeepholeLSTM(H, **kwargs))
    reference = model(lambda **kwargs: keras.layers.RNN(PeepholeLSTMCell(H), **kwargs))
    values = random_arrays(*[w.shape for w in layers.weights], seed=4)
    layers.set_weights(values)
    reference.set_weights(values)
    np.testing.assert_allclose(layers(ids), reference(ids), atol=1e-6)
    np.testing.assert_allclose(layers(ids[1:, :1]), layers(ids)[1:], atol=1e-6)
    cells = keras.layers.RNN([PeepholeLSTMCell(H), PeepholeLSTMCell(2)])
    assert cells(inputs()[0]).shape == (B, 2)


@pytest.mark.parametrize(("policy", "jit"), [("float32", True), ("mixed_bfloat16", False)])
def test_it_trains(policy, jit):
    keras.utils.set_random_seed(0)
    x = inputs()[0]
    y = x.sum((1, 2))[:, None]
    layer = PeepholeLSTM(8, dropout=0.1, recurrent_dropout=0.1, dtype=policy)
    model = keras.Sequential([layer, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.02), "mse", jit_compile=jit)
    losses = model.fit(x, y, epochs=25, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2
    assert {v.dtype for v in layer.trainable_variables} == {"float32"}
    assert np.abs(layer.cell.peephole_kernel.numpy()).min() > 0  # zero at first
    assert layer(x).dtype == layer.compute_dtype
