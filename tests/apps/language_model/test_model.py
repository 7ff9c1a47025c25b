"""The language model: its equations, its carried states, its sampled softmax, saved files."""

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
ASSETS = types.SimpleNamespace(vocabulary=types.SimpleNamespace(size=V))
CONFIG = dataclasses.replace(
    TINY, batch_size=B, units=5, num_layers=2, dropout=0.3, sampled_softmax=0
)
LOSS = keras.losses.SparseCategoricalCrossentropy(
    from_logits=True, reduction="mean_with_sample_weight"
)
cells = pytest.mark.parametrize("cell", CELLS)


def built(cell="gru", **changes):
    """Returns a model with random weights."""
    model = lm.build(dataclasses.replace(CONFIG, cell=cell, **changes), ASSETS)
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
def test_it_equals_its_equations(cell):
    """x = E[w], y = stack(x), logits = y E^T + b, without dropout in inference."""
    model = built(cell)
    assert model.output_shape == (B, None, V)
    embedding, stack = model.get_layer("embedding"), model.get_layer("stack")
    E, b = (np.asarray(w) for w in embedding.weights)
    assert (E.shape, b.shape) == ((V, 5), (V,))
    ids = tokens()
    y, _ = stack(E[ids])
    np.testing.assert_allclose(logits(model, ids), y @ E.T + b, rtol=1e-4, atol=1e-5)


def test_the_initial_bias_is_zipfs_law():
    model = lm.build(CONFIG, ASSETS)
    bias = np.asarray(model.get_layer("embedding").bias)
    np.testing.assert_allclose(np.exp(bias) * (np.arange(V) + 2.7), 1, rtol=1e-5)
    assert (
        0
        < model.count_params()
        == sum(np.prod(v.shape) for v in model.variables if "seed" not in v.path)
    )


@cells
def test_a_training_step_lowers_the_loss(cell):
    model = built(cell, dropout=0.0)
    ids, targets = tokens(), tokens(seed=1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        initial_loss = loss(targets, model(inputs(ids, [0, 0, 0]), training=True))
    gradients = tape.gradient(initial_loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.isfinite(gradient).all(), variable.path
        assert np.abs(gradient).max() > 0, variable.path
    keras.optimizers.SGD(0.1).apply(gradients, model.trainable_variables)
    assert loss(targets, logits(model, ids)) < initial_loss


def test_dropout_is_drawn_from_the_seed_in_training_only():
    keras.utils.set_random_seed(1)
    one, two, other = built(), built(), built(seed=7)
    ids = tokens()
    training_logits = [logits(m, ids, training=True) for m in (one, two, other, one)]
    np.testing.assert_array_equal(training_logits[0], training_logits[1])
    assert (training_logits[0] != training_logits[2]).any()
    assert (training_logits[0] != training_logits[3]).any()
    np.testing.assert_allclose(logits(one, ids), logits(other, ids), rtol=1e-6)


# --- Carried states ------------------------------------------------------------------------------


@cells
def test_windows_with_carry_equal_one_long_window(cell):
    model = built(cell)
    ids = tokens(10)
    expected = logits(model, ids)
    parts = [logits(model, ids[:, :4]), logits(model, ids[:, 4:5], (1, 1, 1))]
    parts.append(logits(model, ids[:, 5:], (1, 1, 1)))
    np.testing.assert_allclose(np.concatenate(parts, axis=1), expected, rtol=1e-4, atol=1e-5)


def test_a_carry_of_zero_resets_a_row():
    model = built("lstm")
    ids = tokens(10)
    one_window, reset = logits(model, ids), logits(model, ids[:, 4:])
    logits(model, ids[:, :4])
    mixed = logits(model, ids[:, 4:], (1, 0, 1))
    np.testing.assert_allclose(mixed[[0, 2]], one_window[[0, 2], 4:], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mixed[1], reset[1], rtol=1e-4, atol=1e-5)
    assert np.abs(mixed[1] - one_window[1, 4:]).max() > 1e-3


def test_rows_are_independent():
    model = built()
    ids = tokens()
    other = ids.copy()
    other[1:] = (other[1:] + 1) % V
    np.testing.assert_array_equal(logits(model, ids)[0], logits(model, other)[0])


@cells
def test_gradients_stay_inside_a_window(cell):
    stack = built(cell).get_layer("stack")
    a, b = (
        tf.constant(np.random.default_rng(i).normal(size=(B, 4, 5)), tf.float32) for i in (0, 1)
    )
    ones = tf.ones([B])
    with tf.GradientTape() as tape:
        tape.watch([a, b])
        stack(a, carry=0 * ones)
        y = stack(b, carry=ones)
    gradient_a, gradient_b = tape.gradient(y, [a, b])
    assert gradient_a is None
    assert np.abs(gradient_b).min() > 0
    # The states have an effect.
    stack(2 * a, carry=0 * ones)
    assert np.abs(stack(b, carry=ones) - y).max() > 1e-3


@pytest.mark.parametrize("graph", [False, True])
@cells
def test_a_batch_of_another_size_is_refused(cell, graph):
    """The carried states have `batch_size` rows; one row must not become as many."""
    model = built(cell)
    stack = model.get_layer("stack")
    x, ones = tf.random.stateless_normal([B + 1, T, 5], [1, 2]), tf.ones([B + 1])

    def read(x, carry, training=False):
        return stack(x, carry=carry, training=training)

    errors = (ValueError,)
    if graph:
        spec = [tf.TensorSpec([None, None, 5]), tf.TensorSpec([None])]
        read = tf.function(read, input_signature=spec, autograph=False)
        errors = (ValueError, tf.errors.InvalidArgumentError)
    assert read(x[:B], ones[:B]).shape == (B, T, 5)
    for rows in (1, B - 1, B + 1):
        for wrong in (x[:rows], ones[:rows]), (x[:B], ones[:rows]), (x[:rows], ones[:B]):
            with pytest.raises(errors, match=r"must have the 3 rows .*`batch_size`"):
                read(*wrong)


def test_a_model_refuses_a_batch_of_another_size():
    model = built("peephole_lstm")
    with pytest.raises(ValueError, match=r"must have the 3 rows .*`batch_size`"):
        model({"tokens": tokens()[:1], "carry": np.ones(1, "float32")})


def test_state_variables_are_in_the_checkpoint_and_not_trained():
    model = built("peephole_lstm")
    states = model.state_variables
    assert [tuple(s.shape) for s in states] == [(B, 5)] * 4
    assert all(v is c for v, c in zip(states, model.get_layer("stack").carried_states, strict=True))
    assert not any(v is s for v in model.trainable_variables for s in states)
    assert all(any(v is s for v in model.variables) for s in states)  # checkpoints save them
    # All other weights are parameters; the random seeds are not weights.
    others = [v for v in model.weights if not any(v is s for s in states)]
    assert {id(v) for v in others} == {id(v) for v in model.trainable_variables}


def test_without_carry_it_equals_a_recurrent_stack():
    stack = built("peephole_lstm").get_layer("stack")
    x = tf.random.stateless_normal([2, 4, 5], [1, 2])  # not the batch size of the carried states
    y, states = stack(x)
    assert y.shape == (2, 4, 5)
    assert [s.shape for s in states] == [(2, 5)] * 4
    carried = [c.numpy() for c in stack.carried_states]
    _, states = stack(x[:, :2])
    y_2, _ = stack(x[:, 2:], initial_state=states)
    np.testing.assert_allclose(y_2, y[:, 2:], rtol=1e-5, atol=1e-6)
    for c, expected in zip(stack.carried_states, carried, strict=True):
        np.testing.assert_array_equal(c, expected)


# --- Dtype policies ------------------------------------------------------------------------------


@pytest.mark.parametrize("sampled", [0, 6])
@pytest.mark.parametrize(
    ("policy", "tolerance"), [("mixed_bfloat16", 0.05), ("mixed_float16", 0.01), ("float64", 1e-4)]
)
def test_dtype_policies(policy, tolerance, sampled, tmp_path):
    """Logits and loss are not of 16 bits; the states are carried; a saved model is loaded."""
    ids, targets = tokens(), tokens(seed=1)
    expected = logits(built("peephole_lstm", sampled_softmax=sampled, dropout=0.0), ids)
    try:
        if policy == "float64":
            keras.config.set_floatx("float64")
        keras.config.set_dtype_policy(policy)
        model = built("peephole_lstm", sampled_softmax=sampled, dropout=0.0)
        types = keras.dtype_policies.get(policy)
        result = model(inputs(ids, (0, 0, 0)))
        assert result.dtype == model.outputs[0].dtype == types.variable_dtype
        np.testing.assert_allclose(result, expected, atol=tolerance)
        assert {v.dtype for v in model.trainable_variables} == {types.variable_dtype}
        parts = [logits(model, ids[:, :4]), logits(model, ids[:, 4:], (1, 1, 1))]
        np.testing.assert_allclose(np.concatenate(parts, 1), expected, atol=tolerance)
        model.save(tmp_path / "m.keras")
        loaded = keras.saving.load_model(tmp_path / "m.keras", compile=False)
        np.testing.assert_array_equal(logits(loaded, ids), result)

        model.compile(keras.optimizers.SGD(0.1), LOSS)
        weights = [v.numpy() for v in model.trainable_variables]
        batch = (inputs(ids, (0, 0, 0)), targets, np.ones((B, T), "float32"))
        losses = [model.train_on_batch(*batch) for _ in range(2)]
        assert np.isfinite(losses).all()
        assert all(
            (v.numpy() != w).any() for v, w in zip(model.trainable_variables, weights, strict=True)
        )
    finally:
        keras.config.set_dtype_policy("float32")
        keras.config.set_floatx("float32")


# --- Saved files ---------------------------------------------------------------------------------


@cells
def test_a_saved_model_is_loaded(tmp_path, cell):
    model = built(cell)
    ids = tokens()
    expected = logits(model, ids)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras", compile=False)
    np.testing.assert_array_equal(logits(loaded, ids), expected)
    assert loaded.get_layer("stack").batch_size == B
    assert loaded.get_layer("stack").get_config() == model.get_layer("stack").get_config()
    for a, b in zip(model.trainable_variables, loaded.trainable_variables, strict=True):
        assert a.path == b.path
        np.testing.assert_array_equal(a, b)
    for a, b in zip(model.state_variables, loaded.state_variables, strict=True):
        assert np.abs(a).max() > 0
        np.testing.assert_array_equal(a, b)


# --- The sampled softmax -------------------------------------------------------------------------


def test_sampling_all_words_but_one_nearly_equals_the_full_softmax():
    """Compares the gradients of every weight; gradients of repeated rows of the embedding are summed."""
    model = built(sampled_softmax=V - 1, dropout=0.0, recurrent_dropout=0.0)
    ids, targets = tokens(), tokens(seed=1)
    weights = np.random.default_rng(2).uniform(size=(B, T)).astype(np.float32)
    model.compile("sgd", LOSS)

    @tf.function(autograph=False)
    def gradients(training):
        with tf.GradientTape() as tape:
            y = model(inputs(ids, [0, 0, 0]), training=training)
            loss = model.compute_loss(None, targets, y, weights, training)
        result = tape.gradient(loss, model.trainable_variables)
        # Keras's global norm of a sparse gradient with repeated rows would be wrong.
        assert not (training and any(isinstance(g, tf.IndexedSlices) for g in result))
        return [tf.convert_to_tensor(g) for g in result]

    mean = [np.mean(g, 0) for g in zip(*(gradients(True) for _ in range(200)), strict=True)]
    for variable, sampled, exact in zip(
        model.trainable_variables, mean, gradients(False), strict=True
    ):
        scale = np.abs(exact).max()
        np.testing.assert_allclose(sampled, exact, atol=0.1 * scale, err_msg=variable.path)


def test_validation_uses_the_full_softmax_and_metrics_raise_an_error():
    """A metric would be computed from the features, since training computes no logits."""
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
def test_a_sample_must_be_smaller_than_the_vocabulary(sampled):
    with pytest.raises(InputError, match=f"--sampled-softmax .* to 10, .* Received: {sampled}"):
        built(sampled_softmax=sampled)


def test_a_saved_model_with_a_sampled_softmax_is_loaded(tmp_path):
    model = built(sampled_softmax=4)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras", compile=False)
    assert type(loaded) is lm.LanguageModel
    assert loaded.get_layer("embedding").num_sampled == 4
    np.testing.assert_array_equal(logits(loaded, tokens()), logits(model, tokens()))
