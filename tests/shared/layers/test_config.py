"""Every public layer keeps its arguments as attributes and in its config."""

import inspect

import keras
import pytest

from shared.layers.attention import Attention
from shared.layers.attention_decoder import AttentionDecoder
from shared.layers.crf import LinearChainCRF
from shared.layers.encoder import BidirectionalEncoder
from shared.layers.recurrent import RecurrentStack
from shared.layers.tied_embedding import TiedEmbedding

STACK = {
    "cell": "gru",
    "units": 4,
    "num_layers": 3,
    "dropout": 0.1,
    "recurrent_dropout": 0.2,
    "seed": 5,
}
# Every argument of each layer, with values that are not the defaults. test_peephole_lstm_config.py tests the
# peephole LSTM.
ARGUMENTS = {
    Attention: {"score": "general", "units": 7},
    AttentionDecoder: {
        **STACK,
        "recurrent_dropout": 0.0,
        "output_dim": 6,
        "layer_norm": True,
        "score": "general",
        "input_feeding": True,
    },
    BidirectionalEncoder: {**STACK, "layer_norm": True, "scale": False},
    LinearChainCRF: {"num_labels": 3},
    RecurrentStack: {**STACK, "bidirectional": True},
    TiedEmbedding: {"input_dim": 9, "output_dim": 4, "num_sampled": 3, "seed": 5},
}


@pytest.mark.parametrize("cls", ARGUMENTS)
def test_arguments_are_attributes_and_the_config_is_complete(cls):
    arguments = ARGUMENTS[cls]
    assert set(inspect.signature(cls.__init__).parameters) - {"self", "kwargs"} == set(arguments)
    layer = cls(**arguments, name="layer", dtype="mixed_bfloat16", trainable=False)
    config = layer.get_config()
    saved = keras.saving.serialize_keras_object(layer)
    assert saved["registered_name"] == f"peephole>{cls.__name__}"
    copies = cls.from_config(config), keras.saving.deserialize_keras_object(saved)
    for name, value in arguments.items():
        assert config[name] == value, name
        for instance in (layer, *copies):
            assert getattr(instance, name) == value, name
    for copy in copies:
        assert copy.get_config() == config
        assert copy.name == "layer"
        assert copy.compute_dtype == "bfloat16"
        assert not copy.trainable
