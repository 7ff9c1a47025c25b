"""Keras's own test cases of LSTM, RNN and Bidirectional, with the peephole LSTM in their place.

The cases are those of lstm_test.py, rnn_test.py and bidirectional_test.py of Keras 3.15. New peepholes are
zero, so the expected numbers are those of `keras.layers.LSTM`, copied from Keras's tests where these use an
LSTM, and computed by `keras.layers.LSTM` where they use another cell. Cases of a cell of one state, of cuDNN
and of other backends do not apply.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src import testing

from shared.layers.peephole_lstm import PeepholeLSTM, PeepholeLSTMCell

CONSTANTS = {
    "kernel_initializer": keras.initializers.Constant(0.01),
    "recurrent_initializer": keras.initializers.Constant(0.02),
    "bias_initializer": keras.initializers.Constant(0.03),
}
RNN_ARGUMENTS = (
    "return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask",
)  # fmt: skip


def rnn_of_the_cell(units, **options):
    rnn_options = {name: options.pop(name) for name in RNN_ARGUMENTS if name in options}
    return keras.layers.RNN(PeepholeLSTMCell(units, **options), **rnn_options)


def keras_lstm(units, **options):
    return keras.layers.LSTM(units, use_cudnn=False, **options)


CLASSES = {"layer": PeepholeLSTM, "rnn_of_the_cell": rnn_of_the_cell}
classes = pytest.mark.parametrize("make", CLASSES.values(), ids=CLASSES)


def sequence(*shape):
    return np.arange(np.prod(shape)).reshape(shape).astype("float32")


def assert_close(result, expected):
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def rows(values, width):
    """Repeats each value: with constant weights, all units are equal."""
    return np.repeat(np.array(values)[..., None], width, -1)


# --- lstm_test.py --------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")
class TestBasics(testing.TestCase):
    def test_basics(self):
        for options, shape, losses in [
            ({"dropout": 0.5}, (3, 3), 0),
            ({"dropout": 0.5, "recurrent_dropout": 0.5}, (3, 3), 0),
            (
                {
                    "return_sequences": True,
                    "bias_regularizer": "l1",
                    "kernel_regularizer": "l2",
                    "recurrent_regularizer": "l2",
                },
                (3, 2, 3),
                3,
            ),
            ({"go_backwards": True, "unroll": True}, (3, 3), 0),
        ]:
            self.run_layer_test(
                PeepholeLSTM,
                init_kwargs={"units": 3, **options},
                input_shape=(3, 2, 4),
                call_kwargs={"training": True} if "dropout" in options else None,
                expected_output_shape=shape,
                expected_num_losses=losses,
                expected_num_trainable_weights=4,
                expected_num_non_trainable_weights=0,
                supports_masking=True,
            )

    def test_bidirectional_basics(self):
        for backward, merge_mode, features in (False, "concat", 8), (True, "sum", 4):
            layers = {"layer": PeepholeLSTM(4)}
            if backward:
                layers["backward_layer"] = PeepholeLSTM(4, go_backwards=True)
            self.run_layer_test(
                keras.layers.Bidirectional,
                init_kwargs={**layers, "merge_mode": merge_mode},
                input_shape=(3, 2, 4),
                expected_output_shape=(3, features),
                expected_num_trainable_weights=8,
                expected_num_non_trainable_weights=0,
                supports_masking=True,
            )

    def test_serialization(self):
        self.run_class_serialization_test(PeepholeLSTM(2))
        self.run_class_serialization_test(rnn_of_the_cell(2))


@classes
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.6288687, 0.86899155, 0.9460773]),
        ({"go_backwards": True}, [0.35622165, 0.74789524, 0.8872726]),
        ({"unroll": True}, [0.6288687, 0.86899155, 0.9460773]),
        ({"unit_forget_bias": False}, [0.57019705, 0.8661914, 0.9459622]),
        ({"use_bias": False}, [0.54986924, 0.86226785, 0.9443936]),
    ],
    ids=str,
)
def test_correctness(make, options, expected):
    layer = make(3, **CONSTANTS, **options)
    assert_close(layer(sequence(3, 6, 4)), rows(expected, 3))


@classes
def test_statefulness(make):
    layer = make(4, stateful=True, **CONSTANTS)
    for _ in range(2):
        layer(sequence(2, 3, 4))
        assert_close(layer(sequence(2, 3, 4)), rows([0.3124785, 0.6863672], 4))
        layer.reset_state()


@classes
@pytest.mark.parametrize(
    ("backwards", "expected"),
    [
        (False, [[0.20574439, 0.3558822], [0.64930826, 0.66276]]),
        (True, [[0.13281618, 0.2790356], [0.5839337, 0.5992567]]),
    ],
)
def test_pass_initial_state(make, backwards, expected):
    layer = make(2, go_backwards=backwards, **CONSTANTS)
    states = [sequence(2, 2), sequence(2, 2)]
    assert_close(layer(sequence(2, 4, 3), initial_state=states), expected)


@classes
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"unroll": True}, [0.11755939, 0.28556206]),
        (
            {"return_sequences": True},
            [
                [0.01588910, 0.05552048, 0.11755939, 0.11755939],
                [0.14185596, 0.28556206, 0.28556206, 0.28556206],
            ],
        ),
        (
            {"return_sequences": True, "zero_output_for_mask": True},
            [[0.01588910, 0.05552048, 0.11755939, 0.0], [0.14185596, 0.28556206, 0.0, 0.0]],
        ),
    ],
    ids=str,
)
def test_masking(make, options, expected):
    mask = np.array([[True, True, True, False], [True, True, False, False]])
    layer = make(2, **CONSTANTS, **options)
    assert_close(layer(sequence(2, 4, 3), mask=mask), rows(expected, 2))


@classes
def test_masking_backwards(make):
    mask = np.array([[False, True, True, True], [False, False, True, True]])
    layer = make(2, go_backwards=True, **CONSTANTS)
    assert_close(layer(sequence(2, 4, 3), mask=mask), rows([0.15341201, 0.3844719], 2))


# --- rnn_test.py ---------------------------------------------------------------------------------


@classes
@pytest.mark.parametrize("return_state", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("shape", [(3, 4, 5), (None, None, 5)])
def test_compute_output_shape(make, shape, return_sequences, return_state):
    layer = make(8, return_sequences=return_sequences, return_state=return_state)
    y = (*shape[:2], 8) if return_sequences else (shape[0], 8)
    state = (shape[0], 8)
    assert layer.compute_output_shape(shape) == ((y, state, state) if return_state else y)


@classes
@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_outputs_and_states(make, given, return_sequences, stateful):
    """Keras's cases of a forward pass, of given states and of kept states, with an LSTM as reference."""
    options = {"return_sequences": return_sequences, "stateful": stateful, "return_state": True}
    states = {"initial_state": [np.ones((2, 2)), np.ones((2, 2))]} if given else {}
    results = []
    for cls in make, keras_lstm:
        layer = cls(2, **CONSTANTS, **options)
        results.append([*layer(np.ones((2, 3, 2)), **states), *layer(sequence(2, 3, 2))])
    for result, expected in zip(*results, strict=True):
        assert_close(result, expected)


@classes
def test_stateful_batch_size_mismatch_raises(make):
    inputs = keras.Input((5, 3), batch_size=4)
    model = keras.Model(inputs, make(2, stateful=True)(inputs))
    assert model(sequence(4, 5, 3)).shape == (4, 2)
    with pytest.raises(ValueError, match="batch size"):
        model(sequence(1, 5, 3))


@classes
@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
def test_masking_of_every_kind_of_loop(make, backwards, return_sequences, unroll):
    mask = np.array([[True, True, True, False], [True, True, False, False]])
    options = {"return_sequences": return_sequences, "go_backwards": backwards, "unroll": unroll}
    result, expected = (
        cls(2, **CONSTANTS, **options)(sequence(2, 4, 3), mask=mask) for cls in (make, keras_lstm)
    )
    assert_close(result, expected)


# --- bidirectional_test.py -----------------------------------------------------------------------


def both(layer, **options):
    return keras.layers.Bidirectional(layer, **options)


@classes
@pytest.mark.parametrize("backward_layer", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("merge_mode", ["concat", "sum", "ave", "mul", None])
def test_bidirectional(make, merge_mode, return_sequences, backward_layer):
    results = []
    for cls in make, keras_lstm:
        options = {"return_sequences": return_sequences}
        second = {}
        if backward_layer:
            second["backward_layer"] = cls(2, go_backwards=True, bias_initializer="ones", **options)
        layer = both(cls(2, **CONSTANTS, **options), merge_mode=merge_mode, **second)
        if backward_layer:
            layer.build((2, 3, 4))
            for w in layer.backward_layer.weights[:3]:
                w.assign(tf.ones(w.shape) * 0.04)
        results.append(tf.nest.flatten(layer(sequence(2, 3, 4))))
    for result, expected in zip(*results, strict=True):
        assert_close(result, expected)


@classes
def test_bidirectional_statefulness(make):
    layer = both(make(2, stateful=True, **CONSTANTS))
    expected = [
        [0.26234663, 0.26234663, 0.16959146, 0.16959146],
        [0.6137073, 0.6137073, 0.5381646, 0.5381646],
    ]
    for _ in range(2):
        layer(sequence(2, 4, 3))
        assert_close(layer(sequence(2, 4, 3)), expected)
        layer.reset_state()


@classes
def test_bidirectional_initial_state(make):
    states = [sequence(2, 2) * k for k in (1, 2, 3, 4)]
    expected = [
        [0.20794602, 0.4577124, 0.14046375, 0.48191673],
        [0.6682636, 0.6711909, 0.60943645, 0.60950446],
    ]
    layer = both(make(2, **CONSTANTS))
    assert_close(layer(sequence(2, 4, 3), initial_state=states), expected)


@classes
@pytest.mark.parametrize("zero_output", [False, True])
def test_bidirectional_masking(make, zero_output):
    mask = np.array([[True, True, False, True], [True, False, False, True]])
    options = {"return_sequences": True, "zero_output_for_mask": zero_output}
    result, expected = (
        both(cls(2, **CONSTANTS, **options))(sequence(2, 4, 3), mask=mask)
        for cls in (make, keras_lstm)
    )
    assert_close(result, expected)


@classes
def test_bidirectional_return_state(make):
    y, *states = both(make(2, return_state=True, **CONSTANTS))(sequence(2, 4, 3))
    h1, c1, h2, c2 = [
        [0.1990008, 0.52335435], [0.35567185, 1.0492687],
        [0.12659755, 0.44717982], [0.2501858, 0.941473],
    ]  # fmt: skip
    assert_close(y, np.concatenate([rows(h1, 2), rows(h2, 2)], 1))
    for state, expected in zip(states, (h1, c1, h2, c2), strict=True):
        assert_close(state, rows(expected, 2))


@classes
@pytest.mark.parametrize("return_state", [False, True])
@pytest.mark.parametrize("merge_mode", ["ave", "concat", "mul", "sum", None])
def test_bidirectional_output_shape(make, merge_mode, return_state):
    x = sequence(1, 2, 2)
    layer = both(make(2, return_state=return_state), merge_mode=merge_mode)
    outputs, shapes = layer(x), layer.compute_output_shape(x.shape)
    if merge_mode and not return_state:
        outputs, shapes = [outputs], [shapes]
    assert [tuple(output.shape) for output in outputs] == [tuple(shape) for shape in shapes]
