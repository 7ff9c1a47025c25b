"""The trained model: shapes, the state that it carries, its tied softmax, and its files."""

import dataclasses
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.language_model import model as lm
from apps.language_model.config import TINY
from shared.errors import InputError
from shared.layers.recurrent import CELLS

B, T, V = 3, 6, 11
VOCABULARY = types.SimpleNamespace(size=V)
CONFIG = dataclasses.replace(
    TINY, batch_size=B, units=5, num_layers=2, dropout=0.3, sampled_softmax=0
)
LOSS = keras.losses.SparseCategoricalCrossentropy(
    from_logits=True, reduction="mean_with_sample_weight"
)
cells = pytest.mark.parametrize("cell", CELLS)


def built(cell="gru", **changes):
    """A model in which every weight is random."""
    model = lm.build(dataclasses.replace(CONFIG, cell=cell, **changes), VOCABULARY)
    rng = np.random.default_rng(1)
    for v in model.trainable_variables:
        v.assign(rng.normal(size=v.shape) * 0.5)
    return model


def tokens(time=T, seed=0):
    return np.random.default_rng(seed).integers(0, V, (B, time)).astype(np.int32)


def inputs(ids, carry):
    return {"tokens": tf.constant(ids), "carry": tf.constant(carry, tf.float32)}


def logits(model, ids, carry=(0, 0, 0), **options):
    return np.asarray(model(inputs(ids, carry), **options))


# --- Shapes and numbers --------------------------------------------------------------------------


@cells
def test_the_graph_is_the_equations(cell):
    """x = E[w], y = stack(x), logits = y E^T + b; in inference without dropout."""
    model = built(cell)
    assert model.output_shape == (B, None, V)
    embedding, stack = model.get_layer("embedding"), model.get_layer("stack")
    E, b = (np.asarray(w) for w in embedding.weights)
    assert (E.shape, b.shape) == ((V, 5), (V,))
    ids = tokens()
    y, _ = stack(E[ids])
    np.testing.assert_allclose(logits(model, ids), y @ E.T + b, rtol=1e-4, atol=1e-5)


def test_the_softmax_begins_at_zipfs_law():
    model = lm.build(CONFIG, VOCABULARY)
    bias = np.asarray(model.get_layer("embedding").bias)
    np.testing.assert_allclose(np.exp(bias) * (np.arange(V) + 2.7), 1, rtol=1e-5)
    assert (
        0
        < model.count_params()
        == sum(np.prod(v.shape) for v in model.variables if "seed" not in v.path)
    )


@cells
def test_a_step_of_training_lowers_the_loss(cell):
    model = built(cell, dropout=0.0)
    ids, targets = tokens(), tokens(seed=1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        before = loss(targets, model(inputs(ids, [0, 0, 0]), training=True))
    gradients = tape.gradient(before, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.isfinite(gradient).all(), variable.path
        assert np.abs(gradient).max() > 0, variable.path
    keras.optimizers.SGD(0.1).apply(gradients, model.trainable_variables)
    assert loss(targets, logits(model, ids)) < before


def test_dropout_is_drawn_from_the_seed_and_in_training_alone():
    keras.utils.set_random_seed(1)
    one, two, other = built(), built(), built(seed=7)
    ids = tokens()
    trained = [logits(m, ids, training=True) for m in (one, two, other, one)]
    np.testing.assert_array_equal(trained[0], trained[1])
    assert (trained[0] != trained[2]).any()
    assert (trained[0] != trained[3]).any()
    np.testing.assert_allclose(logits(one, ids), logits(other, ids), rtol=1e-6)


# --- The carried state ---------------------------------------------------------------------------


@cells
def test_two_windows_with_carry_are_one_long_window(cell):
    model = built(cell)
    ids = tokens(10)
    whole = logits(model, ids)
    parts = [logits(model, ids[:, :4]), logits(model, ids[:, 4:5], (1, 1, 1))]
    parts.append(logits(model, ids[:, 5:], (1, 1, 1)))
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-4, atol=1e-5)


def test_carry_of_zero_begins_anew_row_by_row():
    model = built("lstm")
    ids = tokens(10)
    whole, fresh = logits(model, ids), logits(model, ids[:, 4:])
    logits(model, ids[:, :4])
    mixed = logits(model, ids[:, 4:], (1, 0, 1))
    np.testing.assert_allclose(mixed[[0, 2]], whole[[0, 2], 4:], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mixed[1], fresh[1], rtol=1e-4, atol=1e-5)
    assert np.abs(mixed[1] - whole[1, 4:]).max() > 1e-3


def test_rows_do_not_meet():
    model = built()
    ids = tokens()
    other = ids.copy()
    other[1:] = (other[1:] + 1) % V
    np.testing.assert_array_equal(logits(model, ids)[0], logits(model, other)[0])


@cells
def test_gradients_do_not_flow_between_windows(cell):
    stack = built(cell).get_layer("stack")
    a, b = (
        tf.constant(np.random.default_rng(i).normal(size=(B, 4, 5)), tf.float32) for i in (0, 1)
    )
    ones = tf.ones([B])
    with tf.GradientTape() as tape:
        tape.watch([a, b])
        stack(a, carry=0 * ones)
        y = stack(b, carry=ones)
    of_a, of_b = tape.gradient(y, [a, b])
    assert of_a is None
    assert np.abs(of_b).min() > 0
    # But the state does matter.
    stack(2 * a, carry=0 * ones)
    assert np.abs(stack(b, carry=ones) - y).max() > 1e-3


def test_the_carried_state_is_saved_and_not_trained():
    model = built("peephole_lstm")
    stack = model.get_layer("stack")
    assert len(stack.carried) == 4
    assert not any(v is c for v in model.trainable_variables for c in stack.carried)
    assert all(any(v is c for v in model.variables) for c in stack.carried)  # as checkpoints need


def test_without_carry_it_is_a_plain_stack():
    stack = built("peephole_lstm").get_layer("stack")
    x = tf.random.stateless_normal([2, 4, 5], [1, 2])  # another batch than it carries
    y, states = stack(x)
    assert y.shape == (2, 4, 5)
    assert [s.shape for s in states] == [(2, 5)] * 4
    before = [c.numpy() for c in stack.carried]
    _, again = stack(x[:, :2])
    y_2, _ = stack(x[:, 2:], initial_state=again)
    np.testing.assert_allclose(y_2, y[:, 2:], rtol=1e-5, atol=1e-6)
    for c, b in zip(stack.carried, before, strict=True):
        np.testing.assert_array_equal(c, b)


# --- Files ---------------------------------------------------------------------------------------


@cells
def test_a_keras_file_gives_the_same_model(tmp_path, cell):
    model = built(cell)
    ids = tokens()
    expected = logits(model, ids)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras", compile=False)
    np.testing.assert_array_equal(logits(again, ids), expected)
    assert again.get_layer("stack").batch_size == B
    for ours, theirs in zip(model.trainable_variables, again.trainable_variables, strict=True):
        assert ours.path == theirs.path
        np.testing.assert_array_equal(ours, theirs)
    # The carried states too, with which training goes on.
    for ours, theirs in zip(*(m.get_layer("stack").carried for m in (model, again)), strict=True):
        assert np.abs(ours).max() > 0
        np.testing.assert_array_equal(ours, theirs)


# --- The sampled softmax -------------------------------------------------------------------------


def test_all_words_but_one_sampled_are_nearly_the_softmax():
    """Its gradients too, of every weight; the embedding's rows that come twice are summed."""
    model = built(sampled_softmax=V - 1, dropout=0.0, recurrent_dropout=0.0)
    ids, targets = tokens(), tokens(seed=1)
    weights = np.random.default_rng(2).uniform(size=(B, T)).astype(np.float32)
    model.compile("sgd", LOSS)

    @tf.function
    def gradients(training):
        with tf.GradientTape() as tape:
            y = model(inputs(ids, [0, 0, 0]), training=training)
            loss = model.compute_loss(None, targets, y, weights, training)
        found = tape.gradient(loss, model.trainable_variables)
        # Of a sparse one Keras's global norm would be wrong: a row may be there twice.
        assert not (training and any(isinstance(g, tf.IndexedSlices) for g in found))
        return [tf.convert_to_tensor(g) for g in found]

    mean = [np.mean(g, 0) for g in zip(*(gradients(True) for _ in range(200)), strict=True)]
    for variable, ours, theirs in zip(
        model.trainable_variables, mean, gradients(False), strict=True
    ):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, atol=0.1 * scale, err_msg=variable.path)


def test_validation_is_exact_and_metrics_are_refused():
    """In training there are no logits, of which Keras would make nonsense."""
    model = built(sampled_softmax=4)
    batch = inputs(tokens(), [0, 0, 0]), tokens(seed=1), np.ones((B, T), np.float32)
    data = tf.data.Dataset.from_tensors(batch)
    model.compile("sgd", LOSS)
    history = model.fit(data, validation_data=data, verbose=0, shuffle=False).history
    loss = LOSS(tokens(seed=1), logits(model, tokens()))
    np.testing.assert_allclose(history["val_loss"], [loss], rtol=1e-5)
    model.compile("sgd", LOSS, weighted_metrics=["sparse_categorical_accuracy"])
    with pytest.raises(ValueError, match="compile without metrics"):
        model.fit(data, verbose=0, shuffle=False)


@pytest.mark.parametrize("sampled", [V, -1])
def test_a_sampled_softmax_draws_fewer_words_than_there_are(sampled):
    with pytest.raises(InputError, match=f"--sampled-softmax .* to 10, .* Received: {sampled}"):
        built(sampled_softmax=sampled)


def test_a_model_with_a_sampled_softmax_is_saved_whole(tmp_path):
    model = built(sampled_softmax=4)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras", compile=False)
    assert type(again) is lm.LanguageModel
    assert again.get_layer("embedding").sampled == 4
    np.testing.assert_array_equal(logits(again, tokens()), logits(model, tokens()))
