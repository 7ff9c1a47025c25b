"""The peephole LSTM in Keras's test harness; its config, saved files, export and error messages."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src import testing

from shared.layers.peephole_lstm import PeepholeLSTM, PeepholeLSTMCell

B, T, D, H = 4, 6, 3, 5


def random_arrays(*shapes, seed=0, dtype="float32"):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) * 0.7 for shape in shapes]


# The harness trains on a generator, for which Keras warns about shuffling.
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")
class TestKerasHarness(testing.TestCase):
    def test_layer(self):
        for init, shape in [
            ({"dropout": 0.5}, (3, 3)),
            ({"dropout": 0.5, "recurrent_dropout": 0.5}, (3, 3)),
            ({"return_sequences": True, "peephole_regularizer": "l2"}, (3, 2, 3)),
        ]:
            self.run_layer_test(
                PeepholeLSTM,
                init_kwargs={"units": 3, **init},
                input_shape=(3, 2, 4),
                call_kwargs={"training": True},
                expected_output_shape=shape,
                expected_num_losses=len(init) - 1 if "return_sequences" in init else 0,
                expected_num_trainable_weights=4,
                expected_num_non_trainable_weights=0,
                supports_masking=True,
            )

    def test_cell(self):
        self.run_layer_test(
            keras.layers.RNN,
            # No dropout: the harness puts a float32 cell in a float16 RNN, for which Keras creates
            # dropout masks of the wrong type (for its own LSTMCell too).
            init_kwargs={"cell": PeepholeLSTMCell(3)},
            input_shape=(3, 2, 4),
            call_kwargs={"training": True},
            expected_output_shape=(3, 3),
            expected_num_trainable_weights=4,
            expected_num_non_trainable_weights=0,
            supports_masking=True,
        )
        self.run_layer_test(
            PeepholeLSTMCell,
            init_kwargs={"units": 3},
            input_shape=(2, 4),
            call_kwargs={"states": [np.ones((2, 3), "float32"), np.ones((2, 3), "float32")]},
            expected_num_trainable_weights=4,
            run_training_check=False,
            run_mixed_precision_check=False,
        )


NOT_DEFAULT = {
    "units": 4,
    "activation": "softsign",
    "recurrent_activation": "hard_sigmoid",
    "use_bias": True,  # False would disable the other arguments of the bias
    "kernel_initializer": keras.initializers.RandomNormal(stddev=0.3, seed=1),
    "recurrent_initializer": keras.initializers.RandomNormal(stddev=0.3, seed=2),
    "bias_initializer": keras.initializers.RandomNormal(stddev=0.3, seed=3),
    "unit_forget_bias": False,
    "kernel_regularizer": keras.regularizers.L2(0.1),
    "recurrent_regularizer": keras.regularizers.L1(0.2),
    "bias_regularizer": keras.regularizers.L2(0.3),
    "activity_regularizer": keras.regularizers.L2(0.4),
    "kernel_constraint": keras.constraints.MaxNorm(1.5),
    "recurrent_constraint": keras.constraints.MaxNorm(1.6),
    "bias_constraint": keras.constraints.MaxNorm(1.7),
    "dropout": 0.1,
    "recurrent_dropout": 0.2,
    "seed": 5,
    "return_sequences": True,
    "return_state": True,
    "go_backwards": True,
    "stateful": True,
    "unroll": True,
    "zero_output_for_mask": True,
    "peephole_initializer": keras.initializers.RandomNormal(stddev=0.3, seed=4),
    "peephole_regularizer": keras.regularizers.L2(0.5),
    "peephole_constraint": keras.constraints.MaxNorm(1.8),
}


def comparable(value):
    return value.get_config() if hasattr(value, "get_config") else getattr(value, "__name__", value)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("cls", [PeepholeLSTM, PeepholeLSTMCell])
def test_arguments_are_attributes_and_the_config_is_complete(cls, use_bias):
    names = set(inspect.signature(cls.__init__).parameters) - {"self", "kwargs"}
    arguments = {name: NOT_DEFAULT[name] for name in names} | {"use_bias": use_bias}
    layer = cls(**arguments, name="layer", dtype="mixed_bfloat16", trainable=False)
    config = layer.get_config()
    assert names | {"name", "dtype", "trainable"} == set(config)
    saved = keras.saving.serialize_keras_object(layer)
    assert saved["registered_name"] == f"peephole>{cls.__name__}"
    loaded = keras.saving.deserialize_keras_object(saved)
    for name in names:
        for instance in layer, loaded:
            assert comparable(getattr(instance, name)) == comparable(arguments[name]), name
    assert loaded.name == "layer"
    assert loaded.compute_dtype == "bfloat16"
    assert not loaded.trainable


# Keras saves a variable with np.array(), and its `__array__` lacks NumPy 2's `copy` argument.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
@pytest.mark.parametrize("cls", [PeepholeLSTM, PeepholeLSTMCell])
def test_a_saved_model_is_loaded(cls, tmp_path):
    names = set(inspect.signature(cls.__init__).parameters) - {"self", "kwargs"}
    layer = cls(**{name: NOT_DEFAULT[name] for name in names})
    if cls is PeepholeLSTMCell:
        layer = keras.layers.RNN(layer, return_state=True)
    x = keras.Input((T, D), batch_size=B)
    model = keras.Model(x, layer(x))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    [data] = random_arrays((B, T, D), seed=2)
    for a, b in zip(model(data), loaded(data), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_export_runs_in_a_tf1_session(tmp_path):
    x = keras.Input((None, D))
    y = keras.layers.Masking()(x)
    y = keras.layers.Bidirectional(PeepholeLSTM(H, return_sequences=True, dropout=0.2))(y)
    model = keras.Model(x, PeepholeLSTM(H, recurrent_dropout=0.2)(y))
    model.set_weights(random_arrays(*[w.shape for w in model.weights], seed=6))
    archive = keras.export.ExportArchive()
    archive.track(model)
    spec = tf.TensorSpec([None, None, D], tf.float32, name="inputs")
    archive.add_endpoint("serve", lambda x: model(x, training=False), input_signature=[spec])
    archive.write_out(str(tmp_path / "export"), verbose=False)

    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(tmp_path / "export"))
        signature = meta.signature_def["serving_default"]
        (input_,), (output,) = signature.inputs.values(), signature.outputs.values()
        [data] = random_arrays((B, T, D), seed=2)
        data[1, 2:] = 0
        results = {
            shape: session.run(output.name, {input_.name: data[: shape[0], : shape[1]]})
            for shape in [(B, T), (2, 3), (1, 1), (0, T), (B, 0), (0, 0)]
        }
    for (rows, steps), result in results.items():
        np.testing.assert_allclose(result, model(data[:rows, :steps]), atol=1e-6)
    functions = meta.graph_def.library.function
    ops = {node.op for f in functions for node in f.node_def}
    assert not [op for op in ops if "Cudnn" in op or "Xla" in op or "BlockLSTM" in op]
    assert not [f for f in functions if "_XlaMustCompile" in f.attr and f.attr["_XlaMustCompile"].b]


@pytest.mark.parametrize("cls", [PeepholeLSTM, PeepholeLSTMCell])
def test_errors_say_what_was_received(cls, monkeypatch):
    for units in 0, -3:
        with pytest.raises(ValueError, match=rf"`units`, expected a positive integer, got {units}"):
            cls(units)
    for name, rate in [("dropout", 1.5), ("recurrent_dropout", -0.1)]:
        with pytest.raises(ValueError, match=rf"`{name}` must be .* Received: {name}={rate}"):
            cls(3, **{name: rate})
    shape, call = ((2, D), {}) if cls is PeepholeLSTM else ((2, T, D), {"states": []})
    with pytest.raises(ValueError, match=rf"expected ndim=.*, found ndim={len(shape)}"):
        cls(3)(np.zeros(shape, "float32"), **call)
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match=r"KERAS_BACKEND=tensorflow .* Received: 'jax'"):
        cls(3)
