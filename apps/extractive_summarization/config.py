"""Settings of the summarization models, and the presets."""

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
    data_dir: tuple[str, ...] = ()  # folders with {train,valid,test}.jsonl
    language: str = "en"  # of the text, a code of ISO 639: en or zh
    level: Literal["word", "sentence"] = "word"  # keep or drop words, or sentences of a document
    vocabulary_size: Positive | None = None  # maximum number of words; None: all
    min_count: Positive = 2  # words with fewer occurrences become <unk>

    # Model
    cell: Literal["simple_rnn", "lstm", "gru", "peephole_lstm"] = "peephole_lstm"  # recurrent cell
    embedding_dim: Positive = 100  # size of the embedding of a word
    char_filters: NonNegative = 50  # filters over the characters of a word (level word); 0: none
    position_dim: NonNegative = 16  # size of the embedding of a position (level word); 0: none
    units: Positive = 128  # size of the hidden state of each direction
    num_layers: Positive = 1  # bidirectional recurrent layers over words, or over sentences
    decoder: Literal["crf", "independent"] = "crf"  # whether a label depends on the one before it
    sentence_encoder: Literal["mean", "attention", "recurrent"] = "attention"  # words to a sentence
    novelty: bool = True  # a sentence depends on the summary before it; needs a loop over sentences
    centrality: Literal["none", "degree", "textrank"] = "none"  # of sentences, by word overlap
    dropout: Fraction = 0.3  # dropout rate of embeddings, between layers and before the output
    recurrent_dropout: Fraction = 0.0  # dropout rate of the hidden state between time steps

    # Training
    epochs: Positive = 10  # passes over the training examples
    batch_size: Positive = 32  # sentences per step, or documents
    pad_to_multiple_of: Positive = 8  # lengths are padded to a multiple of this number
    learning_rate: PositiveFloat = 0.003  # highest learning rate; cosine decay to zero
    warmup_steps: NonNegative = 100  # steps of linear warm-up
    weight_decay: NonNegativeFloat = 0.0  # decoupled weight decay
    clip_norm: NonNegativeFloat = 1.0  # maximum global norm of the gradient; 0: no clipping
    word_dropout: NonNegativeFloat = 0.5  # a: n occurrences become <unk> at a rate of a / (a + n)
    max_examples: Positive | None = None  # maximum number of training examples; None: all
    max_length: Positive = 100  # maximum training length in words, or in sentences of a document
    patience: NonNegative = 0  # epochs without improvement before training stops; 0: off
    seed: Seed = 1  # seed of weights, dropout and the order of the examples

    # Serving
    max_request_bytes: Positive = 50_000  # size of an input above which it is refused
    decision: Literal["viterbi", "marginals"] = "viterbi"  # keep the best path, or what is probable

    def __post_init__(self):
        check_ranges(self)


_SENTENCES = {
    "level": "sentence",
    "decoder": "independent",
    "batch_size": 8,
    "max_length": 120,
    "learning_rate": 0.001,
}

PRESETS = {
    # Sentences from a grammar, whose modifiers, clauses and comments are dropped. F1 of the kept
    # tokens 99.59, logistic regression 90.49, after 1.2 minutes on 2 cores.
    "default": Config(),
    # Documents from the same grammar, whose sentences are kept or dropped. F1 of the kept sentences
    # 94.58, logistic regression 85.64, after 1.1 minutes.
    "documents": Config(**_SENTENCES),
    # 100,000 sentences of Google's compression corpus. F1 81.64, logistic regression 76.25, after 58 minutes.
    "google_compression": Config(
        source="files",
        min_count=3,
        units=200,
        num_layers=2,
        dropout=0.4,
        epochs=10,
        batch_size=64,
        max_length=80,
        learning_rate=0.002,
        word_dropout=1.0,
    ),
    # 1,591 documents of BBC News, with the centrality of each sentence; 128 units are not better. F1 of
    # the kept sentences 85.71, degree of word overlap 84.83, after 0.8 minutes.
    "bbc": Config(
        source="files",
        **{**_SENTENCES, "learning_rate": 0.003},
        centrality="textrank",
        min_count=3,
        embedding_dim=32,
        units=32,
        dropout=0.5,
        epochs=5,
    ),
    # The same without centrality: what the words and positions alone predict. F1 58.53.
    "bbc_words": Config(source="files", **_SENTENCES, min_count=3, dropout=0.5, epochs=5),
}

TINY = Config(
    embedding_dim=16,
    char_filters=8,
    units=16,
    dropout=0.0,
    epochs=2,
    pad_to_multiple_of=24,  # few lengths, so that little is compiled
    learning_rate=0.01,
    word_dropout=0.1,
    max_examples=600,
    max_request_bytes=5_000,
)
