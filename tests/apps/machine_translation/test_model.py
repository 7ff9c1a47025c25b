"""The translation model: whole sequences and single steps, padding, gradients, loss, saved files."""

import dataclasses
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.machine_translation.config import TINY
from apps.machine_translation.model import build
from shared.errors import InputError
from shared.layers.masking import padding_mask
from shared.training.losses import SmoothedCrossentropy

B, S, T, V_X, V_Y = 3, 6, 5, 13, 11
CONFIG = dataclasses.replace(TINY, embedding_dim=5, units=4, dropout=0.0)
LENGTH = np.array([6, 4, 1], np.int32)
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
    """Returns a model with random weights."""
    config = dataclasses.replace(CONFIG, **changes)
    target = types.SimpleNamespace(size=V_Y)
    source = target if config.shared_vocabulary else types.SimpleNamespace(size=V_X)
    model = build(config, types.SimpleNamespace(source_vocabulary=source, target_vocabulary=target))
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


def assert_close(result, expected, **options):
    np.testing.assert_allclose(result, expected, **({"rtol": 1e-4, "atol": 1e-5} | options))


def single_steps(model, inputs):
    """Returns logits and attention weights of `AttentionDecoder.step` for each step, and the memory."""
    embed, decoder = model.get_layer("embedding"), model.get_layer("decoder")
    names = [layer.name for layer in model.layers]
    embed_source = model.get_layer("source_embedding") if "source_embedding" in names else embed
    length = inputs["source_length"]
    memory = model.get_layer("encoder")(embed_source(inputs["source"]), length)
    states, step_logits, weights = decoder.initial_states(memory, length), [], []
    for t in range(inputs["target"].shape[1]):
        o, states, a = decoder.step(
            embed(inputs["target"][:, t]), states, memory,
            decoder.attention.keys(memory), padding_mask(length, memory),
        )  # fmt: skip
        step_logits.append(embed(o, reverse=True))
        weights.append(a)
    return np.stack(step_logits, 1), np.stack(weights, 1), memory


@forms
def test_whole_sequences_equal_single_steps(changes):
    model, inputs = built(**changes), batch()
    whole_sequences = logits(model, inputs)
    assert whole_sequences.shape == (B, T, V_Y)
    steps, weights, memory = single_steps(model, inputs)
    assert_close(whole_sequences, steps)
    decoder, embed = model.get_layer("decoder"), model.get_layer("embedding")
    attention = decoder.attention_weights(embed(inputs["target"]), memory, inputs["source_length"])
    assert_close(attention, weights)
    assert_close(np.sum(weights, -1), np.ones((B, T)))


@forms
def test_padding_has_no_effect(changes):
    model, inputs = built(**changes), batch()
    expected = logits(model, inputs)
    padded = dict(inputs)
    padded["source"] = tf.concat([inputs["source"], tf.ones([B, 3], tf.int32)], 1)
    padded["target"] = tf.concat([inputs["target"], tf.ones([B, 2], tf.int32)], 1)
    assert_close(logits(model, padded)[:, :T], expected)
    # The model does not read the tokens after the length of a sentence, but it reads the last token.
    source = np.array(inputs["source"])
    source[1, LENGTH[1] :] = 3
    assert_close(logits(model, {**inputs, "source": tf.constant(source)}), expected)
    source[1, LENGTH[1] - 1] = (source[1, LENGTH[1] - 1] + 1) % V_Y
    changed = logits(model, {**inputs, "source": tf.constant(source)})
    assert np.abs(changed - expected)[1].max() > 1e-4


@forms
def test_rows_are_independent_and_later_tokens_have_no_effect(changes):
    model, inputs = built(**changes), batch()
    expected = logits(model, inputs)
    for b in range(B):
        assert_close(logits(model, {k: v[b : b + 1] for k, v in inputs.items()})[0], expected[b])
    target = np.array(inputs["target"])
    target[:, 3] = (target[:, 3] + 1) % V_Y
    changed = logits(model, {**inputs, "target": tf.constant(target)})
    assert_close(changed[:, :3], expected[:, :3])
    assert np.abs(changed[:, 3:] - expected[:, 3:]).min(axis=(1, 2)).max() > 0


def test_the_logits_of_an_empty_sentence_are_finite():
    model, inputs = built(), batch()
    inputs["source_length"] = tf.constant([6, 0, 0])
    assert np.isfinite(logits(model, inputs)).all()


@forms
@pytest.mark.usefixtures("without_xla")
def test_a_training_step_lowers_the_loss(changes):
    model, inputs = built(**changes), batch()
    targets, loss = tf.roll(inputs["target"], -1, 1), SmoothedCrossentropy(0.1)

    @tf.function(autograph=False)
    def loss_and_gradients():
        with tf.GradientTape() as tape:
            value = loss(targets, model(inputs, training=True))
        return value, tape.gradient(value, model.trainable_variables)

    initial_loss, gradients = loss_and_gradients()
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        gradient = tf.convert_to_tensor(gradient)
        assert np.isfinite(gradient).all(), variable.path
        assert np.abs(gradient).max() > 0, variable.path
    keras.optimizers.SGD(0.05).apply(gradients, model.trainable_variables)
    assert loss(targets, model(inputs)) < initial_loss


@pytest.mark.parametrize("input_feeding", [False, True])
def test_gradients_in_a_graph_equal_eager_gradients(input_feeding):
    """In a graph, the peephole LSTM uses its hand-written gradient."""
    model, inputs = built(input_feeding=input_feeding), batch()
    targets, loss = tf.roll(inputs["target"], -1, 1), SmoothedCrossentropy(0.0)

    def loss_and_gradients():
        with tf.GradientTape() as tape:
            value = loss(targets, model(inputs, training=True))
        gradients = tape.gradient(value, model.trainable_variables)
        return [value, *map(tf.convert_to_tensor, gradients)]

    results = tf.function(loss_and_gradients, autograph=False)()
    for r, e in zip(results, loss_and_gradients(), strict=True):
        assert_close(r, e, rtol=1e-3, atol=1e-5)


def test_dropout_is_drawn_from_the_seed_in_training_only():
    options = {"dropout": 0.5, "recurrent_dropout": 0.3, "encoder_layers": 2, "decoder_layers": 3}
    one, two, other = built(**options), built(**options), built(**options, seed=7)
    inputs = batch()
    training_logits = [logits(m, inputs, training=True) for m in (one, two, other, one)]
    np.testing.assert_array_equal(training_logits[0], training_logits[1])
    assert (training_logits[0] != training_logits[2]).any()
    assert (training_logits[0] != training_logits[3]).any()
    assert_close(logits(one, inputs), logits(other, inputs))


def test_a_shared_vocabulary_has_one_embedding():
    assert built().count_params() - built(shared_vocabulary=True).count_params() == V_X * 5
    assert "source_embedding" not in [layer.name for layer in built(shared_vocabulary=True).layers]


def test_input_feeding_requires_no_recurrent_dropout():
    with pytest.raises(
        InputError, match=r"--input-feeding requires --recurrent-dropout 0\. Received: .* 0\.1"
    ):
        built(input_feeding=True, recurrent_dropout=0.1)


@forms
def test_a_saved_model_is_loaded(changes, tmp_path):
    model, inputs = built(**changes), batch()
    model.compile("adam", SmoothedCrossentropy(0.1))
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(logits(loaded, inputs), logits(model, inputs))
    assert loaded.loss.smoothing == 0.1
