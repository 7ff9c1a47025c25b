"""The translation model: its two forms, its masks, its gradients, its loss and its files."""

import dataclasses
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.machine_translation.config import TINY
from apps.machine_translation.model import SmoothedCrossentropy, build
from shared.errors import InputError
from shared.layers.masking import padding_mask
from shared.layers.recurrent import CELLS

B, S, T, V_X, V_Y = 3, 6, 5, 13, 11
CONFIG = dataclasses.replace(TINY, embedding_dim=5, units=4, dropout=0.0)
LENGTH = np.array([6, 4, 1], np.int32)
cells = pytest.mark.parametrize("cell", CELLS)
forms = pytest.mark.parametrize(
    "changes",
    [
        {},
        {"decoder_layers": 1},
        {"decoder_layers": 3, "encoder_layers": 2, "layer_norm": True, "attention": "general"},
        {"input_feeding": True},
        {"input_feeding": True, "decoder_layers": 1, "layer_norm": True},
        {"shared_vocabulary": True},
    ],
    ids=str,
)


def built(**changes):
    """A model in which every weight is random."""
    config = dataclasses.replace(CONFIG, **changes)
    target = types.SimpleNamespace(size=V_Y)
    source = target if config.shared_vocabulary else types.SimpleNamespace(size=V_X)
    model = build(config, source, target)
    rng = np.random.default_rng(1)
    for v in model.trainable_variables:
        v.assign(rng.normal(size=v.shape) * 0.6)
    return model


def batch(rows=B, source=S, target=T, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "source": tf.constant(rng.integers(0, V_Y, (rows, source)), tf.int32),
        "source_length": tf.constant(LENGTH[:rows]),
        "target": tf.constant(rng.integers(0, V_Y, (rows, target)), tf.int32),
    }


def logits(model, inputs, **options):
    return np.asarray(model(inputs, **options))


def close(ours, theirs, **options):
    np.testing.assert_allclose(ours, theirs, **({"rtol": 1e-4, "atol": 1e-5} | options))


def one_by_one(model, inputs):
    """Logits and attention of each step, by `Decoder.step`."""
    embed, decoder = model.get_layer("embedding"), model.get_layer("decoder")
    names = [layer.name for layer in model.layers]
    embed_source = model.get_layer("source_embedding") if "source_embedding" in names else embed
    length = inputs["source_length"]
    memory = model.get_layer("encoder")(embed_source(inputs["source"]), length)
    states, found, weights = decoder.initial_states(memory, length), [], []
    for t in range(inputs["target"].shape[1]):
        o, states, a = decoder.step(
            embed(inputs["target"][:, t]), states, memory,
            decoder.attention.keys(memory), padding_mask(length, memory),
        )  # fmt: skip
        found.append(embed(o, reverse=True))
        weights.append(a)
    return np.stack(found, 1), np.stack(weights, 1), memory


@forms
def test_all_steps_at_once_are_the_steps_one_by_one(changes):
    model, inputs = built(**changes), batch()
    whole = logits(model, inputs)
    assert whole.shape == (B, T, V_Y)
    steps, weights, memory = one_by_one(model, inputs)
    close(whole, steps)
    decoder, embed = model.get_layer("decoder"), model.get_layer("embedding")
    attention = decoder.attention_weights(embed(inputs["target"]), memory, inputs["source_length"])
    close(attention, weights)
    close(np.sum(weights, -1), np.ones((B, T)))


@cells
def test_every_cell(cell):
    model, inputs = built(cell=cell), batch()
    close(logits(model, inputs), one_by_one(model, inputs)[0])


@forms
def test_a_beam_is_its_hypotheses(changes):
    """Two hypotheses of a sentence beside each other, and each on its own."""
    model, inputs = built(**changes), batch()
    embed, decoder = model.get_layer("embedding"), model.get_layer("decoder")
    _, _, memory = one_by_one(model, inputs)
    mask, keys = padding_mask(inputs["source_length"], memory), decoder.attention.keys(memory)
    begin = decoder.initial_states(memory, inputs["source_length"])
    states = [s + np.random.default_rng(3).normal(size=(2 * B, s.shape[1])) for s in
              (tf.repeat(s, 2, axis=0) for s in begin)]  # fmt: skip
    x = embed(tf.range(2 * B))
    both = decoder.step(x, states, memory, keys, mask)
    for k in range(2):
        alone = decoder.step(x[k::2], [s[k::2] for s in states], memory, keys, mask)
        for a, b in zip(tf.nest.flatten(both), tf.nest.flatten(alone), strict=True):
            close(a[k::2], b)


@forms
def test_padding_changes_nothing(changes):
    model, inputs = built(**changes), batch()
    expected = logits(model, inputs)
    padded = dict(inputs)
    padded["source"] = tf.concat([inputs["source"], tf.ones([B, 3], tf.int32)], 1)
    padded["target"] = tf.concat([inputs["target"], tf.ones([B, 2], tf.int32)], 1)
    close(logits(model, padded)[:, :T], expected)
    # And what comes after a sentence's end is not read.
    other = np.array(inputs["source"])
    other[1, LENGTH[1] :] = 3
    close(logits(model, {**inputs, "source": tf.constant(other)}), expected)
    other[1, LENGTH[1] - 1] = (other[1, LENGTH[1] - 1] + 1) % V_Y
    assert (
        np.abs(logits(model, {**inputs, "source": tf.constant(other)}) - expected)[1].max() > 1e-4
    )


@forms
def test_rows_do_not_meet_and_the_future_is_not_seen(changes):
    model, inputs = built(**changes), batch()
    expected = logits(model, inputs)
    for b in range(B):
        close(logits(model, {k: v[b : b + 1] for k, v in inputs.items()})[0], expected[b])
    later = np.array(inputs["target"])
    later[:, 3] = (later[:, 3] + 1) % V_Y
    changed = logits(model, {**inputs, "target": tf.constant(later)})
    close(changed[:, :3], expected[:, :3])
    assert np.abs(changed[:, 3:] - expected[:, 3:]).min(axis=(1, 2)).max() > 0


def test_a_row_of_padding_alone_is_finite():
    model, inputs = built(), batch()
    inputs["source_length"] = tf.constant([6, 0, 0])
    assert np.isfinite(logits(model, inputs)).all()


@forms
def test_a_step_of_training_lowers_the_loss(changes):
    model, inputs = built(**changes), batch()
    targets, loss = tf.roll(inputs["target"], -1, 1), SmoothedCrossentropy(0.1)

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            value = loss(targets, model(inputs, training=True))
        return value, tape.gradient(value, model.trainable_variables)

    before, found = gradients()
    for variable, gradient in zip(model.trainable_variables, found, strict=True):
        gradient = tf.convert_to_tensor(gradient)
        assert np.isfinite(gradient).all(), variable.path
        assert np.abs(gradient).max() > 0, variable.path
    keras.optimizers.SGD(0.05).apply(found, model.trainable_variables)
    assert loss(targets, model(inputs)) < before


@pytest.mark.parametrize("feeding", [False, True])
def test_the_graph_trains_as_eager_mode_does(feeding):
    """The peephole LSTM's fast gradient, masks and initial states in it, against the plain one."""
    model, inputs = built(input_feeding=feeding), batch()
    targets, loss = tf.roll(inputs["target"], -1, 1), SmoothedCrossentropy(0.0)

    def gradients():
        with tf.GradientTape() as tape:
            value = loss(targets, model(inputs, training=True))
        found = tape.gradient(value, model.trainable_variables)
        return [value, *map(tf.convert_to_tensor, found)]

    for ours, theirs in zip(tf.function(gradients)(), gradients(), strict=True):
        close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_dropout_is_drawn_from_the_seed_and_in_training_alone():
    options = {"dropout": 0.5, "recurrent_dropout": 0.3, "encoder_layers": 2, "decoder_layers": 3}
    one, two, other = built(**options), built(**options), built(**options, seed=7)
    inputs = batch()
    trained = [logits(m, inputs, training=True) for m in (one, two, other, one)]
    np.testing.assert_array_equal(trained[0], trained[1])
    assert (trained[0] != trained[2]).any()
    assert (trained[0] != trained[3]).any()
    close(logits(one, inputs), logits(other, inputs))


def test_joint_languages_have_one_embedding():
    assert built().count_params() - built(shared_vocabulary=True).count_params() == V_X * 5
    assert "source_embedding" not in [layer.name for layer in built(shared_vocabulary=True).layers]


def test_settings_that_do_not_go_together():
    with pytest.raises(InputError, match="--input-feeding goes without --recurrent-dropout"):
        built(input_feeding=True, recurrent_dropout=0.1)


@forms
def test_a_keras_file_gives_the_same_model(changes, tmp_path):
    model, inputs = built(**changes), batch()
    model.compile("adam", SmoothedCrossentropy(0.1))
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(logits(again, inputs), logits(model, inputs))
    assert again.loss.smoothing == 0.1


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_the_loss_is_its_formula(smoothing):
    rng = np.random.default_rng(0)
    x, targets = rng.normal(size=(B, T, V_Y)) * 2, rng.integers(0, V_Y, (B, T))
    weights = rng.integers(0, 2, (B, T)).astype(float)
    log_p = x - np.log(np.exp(x).sum(-1, keepdims=True))
    expected = -(1 - smoothing) * np.take_along_axis(log_p, targets[..., None], -1)[..., 0]
    expected -= smoothing * log_p.mean(-1)
    loss = SmoothedCrossentropy(smoothing)
    close(loss.call(tf.constant(targets), tf.constant(x, tf.float32)), expected)
    close(
        loss(tf.constant(targets), tf.constant(x, tf.float32), tf.constant(weights, tf.float32)),
        (expected * weights).sum() / weights.sum(),
    )
    # Keras's own, of one-hot targets.
    theirs = keras.losses.CategoricalCrossentropy(True, label_smoothing=smoothing)
    close(loss(targets, tf.constant(x, tf.float32)), theirs(np.eye(V_Y)[targets], x))
