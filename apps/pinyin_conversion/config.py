"""Settings of the pinyin model, and the presets."""

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
    data_dir: tuple[str, ...] = ()  # folders with train.tsv or train.txt; valid and test too
    columns: tuple[NonNegative, NonNegative] = (1, 0)  # pinyin and text in a .tsv, from 0
    group_column: NonNegative | None = None  # column of a .tsv to report results by; None: none
    extra_tests: tuple[str, ...] = ()  # further test sets in --data-dir, such as gold for gold.tsv
    lexicon_size: NonNegative = 350_000  # number of words of jieba's dictionary, the most frequent
    exclude_groups: tuple[str, ...] = ()  # groups that do not count in the headline result
    tones: bool = False  # learn syllables with tones; off: the tones of the data are removed
    tone_dropout: Fraction = 0.05  # fraction of tones removed in training, for input without tones

    # Model
    cell: Literal["simple_rnn", "lstm", "gru", "peephole_lstm"] = "peephole_lstm"  # recurrent cell
    embedding_dim: Positive = 192  # size of the embeddings of syllables and characters
    units: Positive = 384  # size of the hidden state of each direction
    num_layers: Positive = 1  # number of recurrent layers
    bidirectional: bool = True  # read in both directions; off: left to right, for typing
    dropout: Fraction = 0.2  # dropout rate of embeddings, between layers and before the softmax
    recurrent_dropout: Fraction = 0.0  # dropout rate of the hidden state between time steps

    # Training
    epochs: Positive = 5  # passes over the training sentences
    batch_size: Positive = 64  # sentences per step
    pad_to_multiple_of: Positive = 4  # batches are padded to a multiple of this many syllables
    learning_rate: PositiveFloat = 0.003  # highest learning rate; cosine decay to zero
    warmup_steps: NonNegative = 100  # steps in which the learning rate rises to its highest value
    weight_decay: NonNegativeFloat = 0.0  # decoupled weight decay of all weights
    clip_norm: NonNegativeFloat = 1.0  # maximum global norm of the gradients; 0: no clipping
    max_examples: Positive | None = None  # maximum number of training sentences; None: all
    max_length: Positive = 60  # maximum training length in syllables; longer sentences are dropped
    patience: NonNegative = 0  # epochs without improvement before training stops; 0: off
    seed: Seed = 1  # seed of weights, dropout and the order of sentences

    # Serving
    max_request_bytes: Positive = 2_000  # size of an input above which it is refused
    beam_width: Positive = 16  # hypotheses of the beam search
    network_weight: NonNegativeFloat = 0.75  # weight of the network beside the trigram

    def __post_init__(self):
        check_ranges(self)


# Columns: source, pinyin, text. Files: train.tsv, valid.tsv, test.tsv, gold_baker.tsv.
_SENTENCES = Config(
    source="files",
    columns=(1, 2),
    group_column=0,
    extra_tests=("gold_baker",),
    exclude_groups=("thchs30",),
)

PRESETS = {
    # Sentences from templates: 98.38 % of the characters right (trigram: 97.43), 1 min on 2 cores.
    "default": Config(lexicon_size=50_000, units=96, embedding_dim=128, epochs=6),
    # 86.42 % of the characters right (trigram: 84.01), 48 min on 2 cores.
    "sentences": _SENTENCES,
    # 94.06 % of the characters right (trigram: 93.04), 54 min on 2 cores.
    "sentences_tones": dataclasses.replace(_SENTENCES, tones=True),
    # Reads left to right, for typing: 84.99 % of the characters right (trigram: 84.01), 40 min on 2 cores.
    # It does not see the following syllables, so a wider beam helps: 64 gives 0.6 more than 16 on valid.
    "sentences_typing": dataclasses.replace(
        _SENTENCES, bidirectional=False, beam_width=64, network_weight=0.65
    ),
}

TINY = Config(
    lexicon_size=500,
    embedding_dim=16,
    units=16,
    dropout=0.0,
    epochs=2,
    batch_size=64,
    pad_to_multiple_of=20,  # nearly all batches have one shape, so that little is compiled
    max_examples=4000,
    beam_width=2,
)
