"""RecurrentStack with every cell against stacked Keras layers; padding, single steps, saved files."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.layers.peephole_lstm import PeepholeLSTM
from shared.layers.recurrent import CELLS, RecurrentStack

B, T, D, H = 3, 5, 4, 6
CLASSES = {
    "simple_rnn": keras.layers.SimpleRNN,
    "lstm": keras.layers.LSTM,
    "gru": keras.layers.GRU,
    "peephole_lstm": PeepholeLSTM,
}
all_stacks = pytest.mark.parametrize(
    ("cell", "num_layers", "bidirectional"), list(itertools.product(CLASSES, (1, 2), (False, True)))
)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def stack_of(cell, num_layers=1, bidirectional=False, seed=1, **options):
    """Returns a built stack with random weights, also for peepholes and biases."""
    stack = RecurrentStack(cell, H, num_layers, bidirectional, **options)
    stack.build((None, None, D))
    rng = np.random.default_rng(seed)
    stack.set_weights([rng.normal(size=w.shape) * 0.5 for w in stack.get_weights()])
    return stack


def random_states(stack, batch=B, seed=2):
    n = stack.num_layers * stack.states_per_layer
    return list(random(n, batch, H, seed=seed))


def arrays(result):
    y, states = result
    return np.asarray(y), [np.asarray(s) for s in states]


def stacked_keras_layers(stack, x, initial, cell):
    """Returns y and the states of Keras layers; the backward direction reads reversed sequences."""
    states, initial = [], list(initial)
    for rnn in stack.rnns:
        directions = [rnn.forward_layer, rnn.backward_layer] if stack.bidirectional else [rnn]
        ys = []
        for i, direction in enumerate(directions):
            layer = CLASSES[cell](H, return_sequences=True, return_state=True)
            layer.build((None, None, x.shape[-1]))
            layer.set_weights(direction.get_weights())
            n = 2 if "lstm" in cell else 1
            layer_states, initial = initial[:n], initial[n:]
            y, *last = layer(
                x[:, ::-1] if i else x, initial_state=list(map(tf.constant, layer_states))
            )
            ys.append(np.asarray(y)[:, ::-1] if i else np.asarray(y))
            states += [np.asarray(s) for s in last]
        x = np.concatenate(ys, axis=-1)
    assert not initial
    return x, states


def assert_close(result, expected, rtol=1e-5):
    (y, states), (expected_y, expected_states) = result, expected
    np.testing.assert_allclose(y, expected_y, rtol=rtol, atol=1e-6)
    assert len(states) == len(expected_states)
    for s, e in zip(states, expected_states, strict=True):
        np.testing.assert_allclose(s, e, rtol=rtol, atol=1e-6)


def test_all_cells_are_tested():
    assert CELLS == CLASSES


@all_stacks
def test_it_equals_stacked_keras_layers(cell, num_layers, bidirectional):
    stack = stack_of(cell, num_layers, bidirectional)
    x, initial = random(B, T, D), random_states(stack)
    result = arrays(stack(x, initial_state=list(map(tf.constant, initial))))
    assert_close(result, stacked_keras_layers(stack, x, initial, cell))
    # Without initial states the stack starts from zeros, not from the states of the last call.
    zeros = [np.zeros_like(s) for s in initial]
    assert [s.shape for s in map(np.asarray, stack.zero_states(B))] == [s.shape for s in zeros]
    result = arrays(stack(x))
    assert_close(result, stacked_keras_layers(stack, x, zeros, cell))
    shapes = stack.compute_output_shape((B, T, D))
    assert result[0].shape == tuple(shapes[0]) == (B, T, H * (1 + bidirectional))
    assert [s.shape for s in result[1]] == [tuple(s) for s in shapes[1]]


@all_stacks
def test_masked_steps_have_no_effect(cell, num_layers, bidirectional):
    """Masks at the end, at the start, in gaps, of a whole row, and of no step."""
    mask = np.array(
        [[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool
    )
    stack = stack_of(cell, num_layers, bidirectional)
    x, initial = random(len(mask), T, D), random_states(stack, len(mask))
    padded = np.where(mask[..., None], x, 100.0)
    y, states = arrays(stack(padded, initial_state=list(map(tf.constant, initial)), mask=mask))
    assert np.isfinite(y).all()
    for i, row in enumerate(mask):
        row_states = [s[i : i + 1] for s in initial]
        if not row.any():
            assert_close((y[i, :0], [s[i : i + 1] for s in states]), (y[i, :0], row_states))
            continue
        expected = stack(x[i : i + 1, row], initial_state=list(map(tf.constant, row_states)))
        assert_close((y[i : i + 1, row], [s[i : i + 1] for s in states]), arrays(expected))


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", CLASSES)
def test_single_steps_equal_the_whole_sequence(cell, num_layers):
    stack = stack_of(cell, num_layers, dropout=0.5)
    x, states = random(B, T, D), list(map(tf.constant, random_states(stack)))
    expected = arrays(stack(x, initial_state=states))
    ys = []
    for t in range(T):
        y, states = stack.step(tf.constant(x[:, t]), states)
        ys.append(y)
    assert_close((np.stack(ys, axis=1), list(map(np.asarray, states))), expected)
    # The output is the hidden state of the last layer.
    np.testing.assert_array_equal(ys[-1], states[-stack.states_per_layer])


def test_a_bidirectional_stack_has_no_single_step():
    stack = stack_of("gru", bidirectional=True)
    with pytest.raises(ValueError, match="`step` requires bidirectional=False"):
        stack.step(tf.zeros([B, D]), stack.zero_states(B))


@all_stacks
def test_gradients_of_every_weight_and_the_initial_states(cell, num_layers, bidirectional):
    stack = stack_of(cell, num_layers, bidirectional)
    x = tf.constant(random(B, T, D))
    initial = list(map(tf.constant, random_states(stack)))
    with tf.GradientTape() as tape:
        tape.watch([x, *initial])
        y, states = stack(x, initial_state=initial, training=True)
        loss = tf.reduce_sum(y * random(*y.shape, seed=5))
        loss += sum(tf.reduce_sum(s * random(B, H, seed=6)) for s in states)
    sources = [x, *initial, *stack.trainable_variables]
    gradients = tape.gradient(loss, sources)
    for source, gradient in zip(sources, gradients, strict=True):
        assert gradient is not None, source
        assert np.isfinite(gradient).all()
        assert (np.abs(gradient) > 0).mean() > 0.9
    # The gradient of the first initial state, against a finite difference.
    shift = random(B, H, seed=7) * 0.01

    def loss_at(sign):
        y, states = stack(x, initial_state=[initial[0] + sign * shift, *initial[1:]])
        total = np.sum(np.asarray(y, np.float64) * random(*y.shape, seed=5))
        return total + sum(np.sum(np.asarray(s, np.float64) * random(B, H, seed=6)) for s in states)

    expected = (loss_at(1) - loss_at(-1)) / 2
    np.testing.assert_allclose(np.sum(gradients[1] * shift), expected, rtol=1e-2, atol=1e-4)


@all_stacks
def test_only_training_allows_cudnn(cell, num_layers, bidirectional):
    """Keras reads `use_cudnn` when it traces a graph; an exported graph must run on a CPU."""
    stack = stack_of(cell, num_layers, bidirectional)
    inner = [layer for layer in stack._flatten_layers() if hasattr(layer, "use_cudnn")]
    assert bool(inner) == (cell in ("lstm", "gru"))
    assert len(inner) in (
        0,
        num_layers * (3 if bidirectional else 1),
        num_layers * (1 + bidirectional),
    )
    x = random(1, 2, D)
    for training, expected in (False, False), (True, "auto"), (False, False):
        stack(x, training=training)
        assert {layer.use_cudnn for layer in inner} <= {expected}
    stack(x)  # inference is the default
    assert not any(layer.use_cudnn for layer in inner)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rnn", 4), "`cell` must be one of simple_rnn, lstm, gru, peephole_lstm. Received: 'rnn'"),
        (("gru", 0), "`units` must be a positive integer. Received: 0"),
        (("gru", -1), "`units` must be a positive integer. Received: -1"),
        (("gru", 2.5), "`units` must be a positive integer. Received: 2.5"),
        (("gru", "4"), "`units` must be a positive integer. Received: '4'"),
        (("gru", 4, 0), "`num_layers` must be a positive integer. Received: 0"),
        (("gru", 4, 1.0), "`num_layers` must be a positive integer. Received: 1.0"),
        (("gru", 4, 2, False, 1.5), "1.5"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        RecurrentStack(*arguments)
    assert message in str(error.value)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CLASSES)
def test_a_saved_model_is_loaded(tmp_path, cell, bidirectional):
    x = keras.Input((None, D))
    stack = RecurrentStack(cell, H, 2, bidirectional, dropout=0.25, seed=3, name="s")
    y, states = stack(x)
    model = keras.Model(x, [y, *states])
    model.set_weights([random(*w.shape, seed=i) * 0.5 for i, w in enumerate(model.get_weights())])
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.get_layer("s").get_config() == stack.get_config()
    data = random(B, T, D)
    for a, b in zip(model(data), loaded(data), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_functional_model_passes_the_mask_in_and_on():
    ids = keras.Input((None,), dtype="int32")
    embedded = keras.layers.Embedding(10, D, mask_zero=True)(ids)
    y, states = RecurrentStack("gru", H, 2, True)(embedded)
    model = keras.Model(ids, [y, *states, keras.layers.GlobalAveragePooling1D()(y)])
    padded = model(np.array([[3, 4, 5, 0, 0], [1, 2, 3, 4, 5]]))
    expected = model(np.array([[3, 4, 5]]))
    for p, e in zip(padded[1:], expected[1:], strict=True):
        np.testing.assert_allclose(p[:1], e, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(padded[0][:1, :3], expected[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CLASSES)
def test_mixed_precision(cell, bidirectional):
    mixed = stack_of(cell, 2, bidirectional, dtype="mixed_bfloat16")
    float32 = stack_of(cell, 2, bidirectional)
    assert {w.dtype for w in mixed.weights} == {"float32"}
    x = random(B, T, D)
    y, states = mixed(x)
    assert {y.dtype, *(s.dtype for s in states)} == {tf.bfloat16}
    exact, _ = float32(x)
    np.testing.assert_allclose(np.asarray(y, np.float32), exact, atol=0.1)
    assert np.abs(np.asarray(y, np.float32) - exact).max() > 0  # bfloat16 is less exact
    if not bidirectional:
        one, new = mixed.step(tf.cast(x[:, 0], tf.bfloat16), mixed.zero_states(B))
        assert {one.dtype, *(s.dtype for s in new)} == {tf.bfloat16}
        np.testing.assert_allclose(np.asarray(one, np.float32), exact[:, 0], atol=0.1)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.cast(mixed(x, training=True)[0], tf.float32) ** 2)
    for gradient in tape.gradient(loss, mixed.trainable_variables):
        assert gradient.dtype == tf.float32
        assert np.isfinite(gradient).all()


def test_every_sub_layer_has_the_policy_of_the_stack():
    for policy in "mixed_bfloat16", "float64":
        stack = RecurrentStack("peephole_lstm", H, 2, True, dropout=0.5, dtype=policy)
        assert {layer.dtype_policy.name for layer in stack._flatten_layers()} == {policy}


@pytest.mark.parametrize("cell", CLASSES)
def test_rows_are_independent(cell):
    stack = stack_of(cell, 2, True)
    x = random(B, T, D)
    y, states = arrays(stack(x))
    for i in range(B):
        assert_close((y[i : i + 1], [s[i : i + 1] for s in states]), arrays(stack(x[i : i + 1])))
