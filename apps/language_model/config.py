"""Settings of the language model, and the presets."""

import dataclasses
from typing import Literal

from shared.settings import (
    Fraction,
    NonNegative,
    NonNegativeFloat,
    Positive,
    PositiveFloat,
    Seed,
    check_ranges,
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the model and of its training."""

    # Data
    source: str = "embedded"  # embedded, files (needs --data-dir), or tfds:<name>
    data_dir: tuple[str, ...] = ()  # folders with train.txt, valid.txt and test.txt, plain or .gz
    tokenizer: Literal["word", "char", "subword"] = "char"  # how the text is split into tokens
    vocabulary_size: Positive | None = None  # maximum number of tokens; None: all; subwords need it
    min_count: Positive = 1  # tokens with fewer occurrences become <unk>

    # Model
    cell: Literal["simple_rnn", "lstm", "gru", "peephole_lstm"] = "peephole_lstm"  # recurrent cell
    num_layers: Positive = 1  # number of recurrent layers
    units: Positive = 400  # size of a hidden state and of a (tied) embedding
    dropout: Fraction = 0.25  # dropout rate of embeddings, between layers and before the softmax
    recurrent_dropout: Fraction = 0.0  # dropout rate of the hidden state between time steps

    # Training
    sampled_softmax: NonNegative = 0  # tokens sampled for the softmax of a step; 0: full softmax
    epochs: Positive = 9  # passes over the training text
    batch_size: Positive = 32  # number of parallel streams of text
    window: Positive = 64  # time steps of truncated back-propagation
    optimizer: Literal["adamw", "sgd"] = "adamw"  # optimization algorithm
    learning_rate: PositiveFloat = 0.005  # highest learning rate; cosine decay to zero
    warmup_steps: NonNegative = 100  # steps of linear warm-up
    weight_decay: NonNegativeFloat = 0.0  # decoupled weight decay
    clip_norm: NonNegativeFloat = 1.0  # maximum global norm of the gradient; 0: no clipping
    patience: NonNegative = 0  # epochs without improvement before training stops; 0: off
    seed: Seed = 1  # seed of weights, dropout and window borders

    # Serving
    max_request_bytes: Positive = 10_000  # size of an input above which it is refused
    max_tokens: NonNegative = 100  # maximum number of tokens that serving_default generates
    temperature: NonNegativeFloat = 0.5  # of serving_default, which has a fixed seed; 0: greedy

    def __post_init__(self):
        check_ranges(self)


PRESETS = {
    # The Python language reference of CPython 3.11. Test: 2.054 bits per character (12-gram: 2.005);
    # 1.32 M parameters, 9 epochs in 2.5 minutes on 2 cores (AMD EPYC). The text is short (264,000
    # characters) and repeats whole phrases, which is where an n-gram is strong.
    "default": Config(),
    # Penn Treebank, prepared by Mikolov: data/ptb.*.txt of simple-examples.tgz. SHA-256:
    # train fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf
    # valid c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2
    # test  dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0
    # Test perplexity 77.049, state carried (6-gram: 140.84); 7.01 M parameters, 29 epochs in 62 minutes on
    # 2 cores (AMD EPYC). README.md lists the other recipes: with a full softmax, the same time is enough
    # for 13 epochs.
    "ptb": Config(
        source="files",
        tokenizer="word",
        units=500,
        dropout=0.5,
        recurrent_dropout=0.25,
        sampled_softmax=1000,
        epochs=29,
        batch_size=20,
        window=35,
        optimizer="sgd",
        learning_rate=25.0,
        warmup_steps=300,
        weight_decay=2e-6,
        clip_norm=0.25,
        max_tokens=20,
    ),
    # WikiText-2 (Merity et al. 2017), words and <unk>, one paragraph per line: wiki.train.txt,
    # wiki.valid.txt, wiki.test.txt. SHA-256:
    # train 9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f
    # valid f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8
    # test  d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0
    # Test perplexity 98.569, state carried (6-gram: 219.823); 14.63 M parameters, 12 epochs in 60 minutes
    # on 2 cores (AMD EPYC).
    "wikitext2": Config(
        source="files",
        tokenizer="word",
        units=400,
        dropout=0.4,
        recurrent_dropout=0.2,
        sampled_softmax=1000,
        epochs=12,
        batch_size=20,
        window=35,
        optimizer="sgd",
        learning_rate=25.0,
        warmup_steps=300,
        weight_decay=2e-6,
        clip_norm=0.25,
        max_tokens=20,
    ),
}

TINY = Config(
    units=8,
    num_layers=2,
    recurrent_dropout=0.1,
    sampled_softmax=50,
    epochs=2,
    batch_size=64,
    window=64,
    max_tokens=5,
)
