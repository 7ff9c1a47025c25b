"""Stacks of every cell against Keras layers stacked by hand, and the laws of padding and steps."""

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
EVERY = list(itertools.product(CLASSES, (1, 2), (False, True)))
every = pytest.mark.parametrize(("cell", "num_layers", "bidirectional"), EVERY)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def stack_of(cell, num_layers=1, bidirectional=False, seed=1, **options):
    """A built stack in which every weight is random: peepholes and biases begin at zero or one."""
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


def by_hand(stack, x, initial, cell):
    """Keras layers one upon the other; the second direction reads x turned round."""
    states, initial = [], list(initial)
    for rnn in stack.rnns:
        halves = [rnn.forward_layer, rnn.backward_layer] if stack.bidirectional else [rnn]
        ys = []
        for i, half in enumerate(halves):
            layer = CLASSES[cell](H, return_sequences=True, return_state=True)
            layer.build((None, None, x.shape[-1]))
            layer.set_weights(half.get_weights())
            n = 2 if "lstm" in cell else 1
            first, initial = initial[:n], initial[n:]
            y, *last = layer(x[:, ::-1] if i else x, initial_state=list(map(tf.constant, first)))
            ys.append(np.asarray(y)[:, ::-1] if i else np.asarray(y))
            states += [np.asarray(s) for s in last]
        x = np.concatenate(ys, axis=-1)
    assert not initial
    return x, states


def close(ours, theirs, rtol=1e-5):
    (y, states), (other_y, other_states) = ours, theirs
    np.testing.assert_allclose(y, other_y, rtol=rtol, atol=1e-6)
    assert len(states) == len(other_states)
    for a, b in zip(states, other_states, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6)


def test_all_cells_are_tested():
    assert CELLS == CLASSES


@every
def test_as_keras_layers_stacked_by_hand(cell, num_layers, bidirectional):
    stack = stack_of(cell, num_layers, bidirectional)
    x, initial = random(B, T, D), random_states(stack)
    ours = arrays(stack(x, initial_state=list(map(tf.constant, initial))))
    close(ours, by_hand(stack, x, initial, cell))
    # Without initial states they are zero, and not those of the call before.
    zeros = [np.zeros_like(s) for s in initial]
    assert [s.shape for s in map(np.asarray, stack.zero_states(B))] == [s.shape for s in zeros]
    ours = arrays(stack(x))
    close(ours, by_hand(stack, x, zeros, cell))
    shapes = stack.compute_output_shape((B, T, D))
    assert ours[0].shape == tuple(shapes[0]) == (B, T, H * (1 + bidirectional))
    assert [s.shape for s in ours[1]] == [tuple(s) for s in shapes[1]]


@every
def test_masked_steps_are_as_if_they_were_not_there(cell, num_layers, bidirectional):
    """Padding at the end, at the beginning, gaps, all of a row, and none of it."""
    mask = np.array(
        [[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool
    )
    stack = stack_of(cell, num_layers, bidirectional)
    x, initial = random(len(mask), T, D), random_states(stack, len(mask))
    junk = np.where(mask[..., None], x, 100.0)  # what stands in the padding does not matter
    y, states = arrays(stack(junk, initial_state=list(map(tf.constant, initial)), mask=mask))
    assert np.isfinite(y).all()
    for i, real in enumerate(mask):
        first = [s[i : i + 1] for s in initial]
        if not real.any():
            close((y[i, :0], [s[i : i + 1] for s in states]), (y[i, :0], first))
            continue
        alone = stack(x[i : i + 1, real], initial_state=list(map(tf.constant, first)))
        close((y[i : i + 1, real], [s[i : i + 1] for s in states]), arrays(alone))


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", CLASSES)
def test_steps_one_by_one_are_the_whole_sequence(cell, num_layers):
    stack = stack_of(cell, num_layers, dropout=0.5)
    x, states = random(B, T, D), list(map(tf.constant, random_states(stack)))
    whole = arrays(stack(x, initial_state=states))
    ys = []
    for t in range(T):
        y, states = stack.step(tf.constant(x[:, t]), states)
        ys.append(y)
    close((np.stack(ys, axis=1), list(map(np.asarray, states))), whole)
    # The last layer's h is the output.
    np.testing.assert_array_equal(ys[-1], states[-stack.states_per_layer])


def test_a_bidirectional_stack_has_no_steps():
    stack = stack_of("gru", bidirectional=True)
    with pytest.raises(ValueError, match="no single-step form"):
        stack.step(tf.zeros([B, D]), stack.zero_states(B))


@every
def test_gradients_reach_every_weight_and_the_initial_states(cell, num_layers, bidirectional):
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
    # That of the first initial state, against differences.
    shift = random(B, H, seed=7) * 0.01

    def at(sign):
        y, states = stack(x, initial_state=[initial[0] + sign * shift, *initial[1:]])
        total = np.sum(np.asarray(y, np.float64) * random(*y.shape, seed=5))
        return total + sum(np.sum(np.asarray(s, np.float64) * random(B, H, seed=6)) for s in states)

    expected = (at(1) - at(-1)) / 2
    np.testing.assert_allclose(np.sum(gradients[1] * shift), expected, rtol=1e-2, atol=1e-4)


@every
def test_only_training_may_use_cudnn(cell, num_layers, bidirectional):
    """`use_cudnn` is read where a graph is traced; an exported one must be for the CPU."""
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
    stack(x)  # inference is what is meant where nothing is said
    assert not any(layer.use_cudnn for layer in inner)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rnn", 4), "`cell` is one of simple_rnn, lstm, gru, peephole_lstm. Received: 'rnn'"),
        (("gru", 0), "`units` is a positive integer. Received: 0"),
        (("gru", -1), "`units` is a positive integer. Received: -1"),
        (("gru", 2.5), "`units` is a positive integer. Received: 2.5"),
        (("gru", "4"), "`units` is a positive integer. Received: '4'"),
        (("gru", 4, 0), "`num_layers` is a positive integer. Received: 0"),
        (("gru", 4, 1.0), "`num_layers` is a positive integer. Received: 1.0"),
        (("gru", 4, 2, False, 1.5), "1.5"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        RecurrentStack(*arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CLASSES)
def test_a_keras_file_gives_the_same_model(tmp_path, cell, bidirectional):
    x = keras.Input((None, D))
    stack = RecurrentStack(cell, H, 2, bidirectional, dropout=0.25, seed=3, name="s")
    y, states = stack(x)
    model = keras.Model(x, [y, *states])
    model.set_weights([random(*w.shape, seed=i) * 0.5 for i, w in enumerate(model.get_weights())])
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    assert again.get_layer("s").get_config() == stack.get_config()
    data = random(B, T, D)
    for ours, theirs in zip(model(data), again(data), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_mask_goes_in_and_on_in_a_functional_model():
    ids = keras.Input((None,), dtype="int32")
    embedded = keras.layers.Embedding(10, D, mask_zero=True)(ids)
    y, states = RecurrentStack("gru", H, 2, True)(embedded)
    model = keras.Model(ids, [y, *states, keras.layers.GlobalAveragePooling1D()(y)])
    padded = model(np.array([[3, 4, 5, 0, 0], [1, 2, 3, 4, 5]]))
    plain = model(np.array([[3, 4, 5]]))
    for ours, alone in zip(padded[1:], plain[1:], strict=True):
        np.testing.assert_allclose(ours[:1], alone, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(padded[0][:1, :3], plain[0], rtol=1e-5, atol=1e-6)


def test_dropout_is_between_the_layers_in_training_only():
    x = random(B, T, D)
    one, two = stack_of("gru", 1, dropout=0.5), stack_of("gru", 2, dropout=0.5)
    plain = arrays(two(x))
    close(arrays(two(x)), plain)
    close(arrays(one(x, training=True)), arrays(one(x)))
    y, states = arrays(two(x, training=True))
    close((plain[0], states[:1]), (plain[0], plain[1][:1]))  # the first layer's state has none
    assert np.abs(y - plain[0]).max() > 1e-3
    assert np.abs(states[1] - plain[1][1]).max() > 1e-3


@pytest.mark.parametrize("cell", CLASSES)
def test_recurrent_dropout_is_of_every_cell_in_training_only(cell):
    x = random(B, T, D)
    plain, dropping = stack_of(cell), stack_of(cell, recurrent_dropout=0.5)
    np.testing.assert_allclose(dropping(x)[0], plain(x)[0], atol=1e-6)
    trained, _ = dropping(x, training=True)
    np.testing.assert_allclose(trained[:, 0], plain(x)[0][:, 0], atol=1e-6)  # h was zero before it
    assert np.abs(trained - plain(x)[0]).max() > 0.01


@every
def test_inference_holds_no_seed(cell, num_layers, bidirectional):
    stack = stack_of(cell, num_layers, bidirectional, recurrent_dropout=0.5, dropout=0.5)
    stack.build((B, T, D))
    held = lambda f: {id(v) for v in f.get_concrete_function().graph.variables}  # noqa: E731
    weights = {id(v.value) for v in stack.trainable_variables}
    assert held(tf.function(lambda: stack(random(B, T, D), training=True)[0])) > weights
    assert held(tf.function(lambda: stack(random(B, T, D), training=False)[0])) == weights


def test_seeds_make_weights_and_dropout_come_again():
    x = random(B, T, D)

    def run(seed, dropout_seed):
        keras.utils.set_random_seed(seed)
        stack = RecurrentStack("peephole_lstm", H, 2, True, dropout=0.5, seed=dropout_seed)
        ys = [np.asarray(stack(x, training=training)[0]) for training in (False, True, True)]
        return ys, stack

    (a, b, c), stack = run(1, 5)
    for ours, theirs in zip((a, b, c), run(1, 5)[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (b != c).any()  # one draw after the other
    plain, other, _ = run(1, 6)[0]
    np.testing.assert_array_equal(plain, a)
    assert (other != b).any()
    assert (run(2, 5)[0][0] != a).any()
    # No two layers or directions begin alike.
    kernels = [np.asarray(w) for w in stack.trainable_variables if "recurrent_kernel" in w.path]
    assert len(kernels) == 4
    for one, two in itertools.combinations(kernels, 2):
        assert (one != two).any()


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CLASSES)
def test_mixed_precision(cell, bidirectional):
    half = stack_of(cell, 2, bidirectional, dtype="mixed_bfloat16")
    full = stack_of(cell, 2, bidirectional)
    assert {w.dtype for w in half.weights} == {"float32"}
    x = random(B, T, D)
    y, states = half(x)
    assert {y.dtype, *(s.dtype for s in states)} == {tf.bfloat16}
    exact, _ = full(x)
    np.testing.assert_allclose(np.asarray(y, np.float32), exact, atol=0.1)
    assert np.abs(np.asarray(y, np.float32) - exact).max() > 0  # it was bfloat16 indeed
    if not bidirectional:
        one, new = half.step(tf.cast(x[:, 0], tf.bfloat16), half.zero_states(B))
        assert {one.dtype, *(s.dtype for s in new)} == {tf.bfloat16}
        np.testing.assert_allclose(np.asarray(one, np.float32), exact[:, 0], atol=0.1)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.cast(half(x, training=True)[0], tf.float32) ** 2)
    for gradient in tape.gradient(loss, half.trainable_variables):
        assert gradient.dtype == tf.float32
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("cell", CLASSES)
def test_rows_do_not_meet(cell):
    stack = stack_of(cell, 2, True)
    x = random(B, T, D)
    y, states = arrays(stack(x))
    for i in range(B):
        close((y[i : i + 1], [s[i : i + 1] for s in states]), arrays(stack(x[i : i + 1])))
