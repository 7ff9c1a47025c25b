"""Every setting of the language model, and the presets."""

import dataclasses
from typing import Literal

from shared.errors import at_least_one, fraction


@dataclasses.dataclass(frozen=True)
class Config:
    """The model and its training."""

    # Data
    source: str = "embedded"  # embedded, files (needs --data-dir), or tfds:<name>
    data_dir: str = ""  # folder with train.txt, valid.txt and test.txt, plain or .gz
    tokenizer: Literal["word", "char", "subword"] = "char"  # what a token is
    vocabulary_size: int | None = None  # tokens kept; None keeps all, but subwords need a number
    min_count: int = 1  # rarer tokens become <unk>; from a text without <unk>, none is learned

    # Model
    cell: Literal["simple_rnn", "lstm", "gru", "peephole_lstm"] = "peephole_lstm"  # recurrent cell
    num_layers: int = 1  # recurrent layers
    units: int = 400  # size of a state, and of an embedding: they are tied
    dropout: float = 0.25  # of the embeddings, between layers, and before the softmax; a fraction
    recurrent_dropout: float = 0.0  # of h on its way to the next step; a fraction

    # Training
    sampled_softmax: int = 0  # words drawn for the softmax of a step; 0: all, which is exact
    epochs: int = 9  # passes over the training text
    batch_size: int = 32  # streams of text read side by side
    window: int = 64  # tokens that gradients flow back through
    optimizer: Literal["adamw", "sgd"] = "adamw"  # PyTorch's example: sgd, rate 20, norm 0.25
    learning_rate: float = 0.005  # at its highest; cosine decay to zero
    warmup_steps: int = 100  # steps in which the rate climbs to its highest
    weight_decay: float = 0.0  # decoupled, of every weight
    clip_norm: float = 1.0  # the gradient's global norm is cut to it; 0: never
    patience: int = 0  # epochs without a better validation before training stops; 0: never
    seed: int = 1  # of weights, dropout and the borders of windows

    # Serving
    max_tokens: int = 100  # length of a default answer
    temperature: float = 0.5  # of a default answer, with a fixed seed; 0: the likeliest

    def __post_init__(self):
        at_least_one(self, "min_count", "num_layers", "units", "epochs", "batch_size", "window")
        fraction(self, "dropout", "recurrent_dropout")


PRESETS = {
    # The Python language reference of CPython 3.11. Test: 2.054 bits per character, beside 2.005 of a
    # 12-gram; 1.32 M parameters, 9 epochs in 2.5 minutes on 2 cores (AMD EPYC). An n-gram is hard to beat
    # on so little text (264,000 characters), in which whole phrases come again.
    "default": Config(),
    # Penn Treebank in Mikolov's preparation: data/ptb.*.txt of simple-examples.tgz. SHA-256:
    # train fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf
    # valid c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2
    # test  dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0
    # Test perplexity 77.049, state carried, beside 140.84 of a 6-gram; 7.01 M parameters, 29 epochs in
    # 62 minutes on 2 cores (AMD EPYC). What else was tried is in README.md: a full softmax leaves time
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
    # WikiText-2 (Merity et al. 2017), of words and <unk>, a paragraph a line: wiki.train.txt,
    # wiki.valid.txt, wiki.test.txt. SHA-256:
    # train 9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f
    # valid f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8
    # test  d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0
    # Test perplexity 98.569, state carried, beside 219.823 of a 6-gram; 14.63 M parameters, 12 epochs in
    # 60 minutes on 2 cores (AMD EPYC).
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
