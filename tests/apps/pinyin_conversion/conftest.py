"""Assets of a few sentences, small enough to be read, and models with random weights."""

import dataclasses
import types

import numpy as np
import pytest
import tensorflow as tf

from apps.pinyin_conversion import data
from apps.pinyin_conversion.config import TINY
from apps.pinyin_conversion.lexicon.readings import Readings
from apps.pinyin_conversion.model import build
from apps.pinyin_conversion.serve import Server

PAIRS = [
    ("ta1 shi4 yan2 jiu1 sheng1 wu4 de5", "他是研究生物的"),
    ("wo3 men5 qu4 xi1 an1", "我们去西安"),
    ("xian4 zai4 hen3 hao3", "现在很好"),
    ("lv3 xing2 yi4 tian1", "旅行一天"),
    ("ta1 hen3 hao3", "他很好"),
    ("fang1 an4 hen3 hao3", "方案很好"),
]


@pytest.fixture(scope="session")
def assets(tmp_path_factory):
    """`data.Assets` of `PAIRS`."""
    train = data.PinyinSplit("train", PAIRS)
    return data.build_assets(TINY, train, tmp_path_factory.mktemp("assets"))


@pytest.fixture(scope="session")
def small_readings(tmp_path_factory):
    """`Readings` of a dozen characters."""
    path = tmp_path_factory.mktemp("small") / "readings.txt"
    path.write_text(
        "an\t安1 案4\nle\t了5\nliao\t了3\nma\t吗5 马3 妈1 骂4\nxi\t西1\nxian\t现4 先1\nyi\t一1 亿4\n",
        "utf-8",
    )
    return Readings(path)


def _serve_random(assets, **settings):
    config = dataclasses.replace(TINY, embedding_dim=6, units=5, beam_width=4, **settings)
    model = build(config, assets)
    rng = np.random.default_rng(3)
    for v in model.trainable_variables:
        v.assign(rng.normal(size=v.shape) * 0.8)
    return types.SimpleNamespace(server=Server(model, config, assets), model=model, config=config)


@pytest.fixture(scope="session")
def toneless(assets):
    return _serve_random(assets)


@pytest.fixture(scope="session")
def typing(assets):
    return _serve_random(assets, bidirectional=False, num_layers=2)


@pytest.fixture(scope="session")
def toned(assets):
    return _serve_random(assets, tones=True)


def _ask(model, signature, texts, **params):
    texts = [t if isinstance(t, bytes) else t.encode() for t in texts]
    params = {name: tf.constant(value) for name, value in params.items()}
    answer = model.server.endpoints[signature](tf.constant(texts, tf.string), **params)
    return {
        k: _strings(v.numpy()) if v.dtype == tf.string else v.numpy() for k, v in answer.items()
    }


def _strings(array):
    return array.decode() if isinstance(array, bytes) else [_strings(x) for x in array]


@pytest.fixture(scope="session")
def serve_random():
    """A function of assets and settings that returns a model with random weights and its `Server`."""
    return _serve_random


@pytest.fixture(scope="session")
def ask():
    """A function of a model, signature, texts and parameters that returns the answer, with strings."""
    return _ask
