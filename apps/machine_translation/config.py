"""Settings of the translation model, and the presets."""

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
    data_dir: tuple[str, ...] = ()  # folders with train.tsv, or train.en and train.zh
    languages: tuple[str, str] = ("en", "zh")  # source and target: file suffixes, TFDS features
    columns: tuple[NonNegative, NonNegative] = (0, 1)  # source and target in a .tsv, from 0
    source_tokenizer: Literal["char", "word", "subword"] = "char"  # kind of source tokens
    target_tokenizer: Literal["char", "word", "subword"] = "char"  # kind of target tokens
    vocabulary_size: Positive | None = None  # maximum size; None: all; subwords need it
    shared_vocabulary: bool = False  # one vocabulary and one embedding for both languages
    lowercase: bool = False  # lower-case the source sentence

    # Model
    cell: Literal["simple_rnn", "lstm", "gru", "peephole_lstm"] = "peephole_lstm"  # recurrent cell
    embedding_dim: Positive = 128  # size of an embedding
    units: Positive = 128  # size of a hidden state; the encoder has this size in each direction
    encoder_layers: Positive = 1  # number of bidirectional recurrent layers of the encoder
    decoder_layers: Positive = 2  # recurrent layers of the decoder; the first computes the query
    attention: Literal["additive", "general"] = "additive"  # score function of the attention
    input_feeding: bool = False  # feed the attention output into the next step; slower
    layer_norm: bool = False  # layer normalization after the recurrent layers
    dropout: Fraction = 0.1  # dropout rate of embeddings, between layers and before the softmax
    recurrent_dropout: Fraction = 0.0  # dropout rate of the hidden state between time steps

    # Training
    epochs: Positive = 10  # passes over the training pairs
    batch_size: Positive = 64  # sentence pairs per step
    pad_to_multiple_of: Positive = 8  # lengths are padded to a multiple of this number of tokens
    learning_rate: PositiveFloat = 0.003  # highest learning rate; cosine decay to zero
    warmup_steps: NonNegative = 100  # steps of linear warm-up
    weight_decay: NonNegativeFloat = 0.0  # decoupled weight decay
    clip_norm: NonNegativeFloat = 1.0  # maximum global norm of the gradient; 0: no clipping
    label_smoothing: Fraction = 0.1  # target probability that is spread over the vocabulary
    max_examples: Positive | None = None  # maximum number of training pairs; None: all
    max_length: Positive = 100  # maximum training length in tokens; train drops longer pairs
    patience: NonNegative = 0  # epochs without improvement before training stops; 0: off
    seed: Seed = 1  # seed of weights, dropout and the order of the pairs

    # Serving
    max_request_bytes: Positive = 2_000  # size of an input above which it is refused
    beam_width: Positive = 4  # beam width of serving_default
    length_penalty: NonNegativeFloat = 1.0  # exponent of the length normalization; 0: none

    def __post_init__(self):
        check_ranges(self)


PRESETS = {
    # English to Chinese from CLDR, by Babel: dates, times, amounts, lists, names. Test: 97.5 % exact match
    # (copy of the source: 6.2 %); 0.96 M parameters, 7 epochs in 2.1 minutes on 2 cores (AMD EPYC).
    "default": Config(dropout=0.05, batch_size=32, label_smoothing=0.05, epochs=7),
    # Multi30k task 1, raw: train.{en,de}, val.{en,de}, test_2016_flickr.{en,de}. SHA-256 of the pairs,
    # one line per pair, separated by a tab:
    # train c1a00bc02ecdb46c6df9032b05537a0f9ccb8f8badf9c27c6d2b5fef14258da4
    # valid 2da4aa9f2f00e8aa94e3df29b4669e663fe821b662405a2d9b7fe9ca0ca1f837
    # test  5a087b0b6254fc8da010153b56c4450c369a2709abed12cce8b9ef6db260db35
    # Test BLEU 37.5 in lower case, 37.18 cased (nearest training sentence: 8.61); 4.58 M parameters, 24
    # epochs in 56 minutes on 2 cores (AMD EPYC); 35.86 after the first 24 minutes.
    "multi30k_en_de": Config(
        source="files",
        languages=("en", "de"),
        source_tokenizer="subword",
        target_tokenizer="subword",
        vocabulary_size=4000,
        shared_vocabulary=True,
        embedding_dim=256,
        units=256,
        dropout=0.3,
        epochs=24,
        pad_to_multiple_of=4,
        max_length=80,
    ),
    # Tatoeba's short sentences: train.tsv, valid.tsv, test.tsv, English first. SHA-256 of the pairs:
    # train 5d005fcb9b1fb34eb81e02e7993793f24fcf2be6d9b145ca05379a44965ec50a
    # valid 00ef74f42205d93365a8a083f7a3e84bfccf67a1fd4a5aa5a3b023d5766021d7
    # test  f7661eee9be0bde4619a5e2820a2c515bd828b5a01b07265eaefda452631cfed
    # Test BLEU 29.06 in lower case, 28.71 cased (nearest training sentence: 14.85); 5.30 M parameters, 18
    # epochs in 27 minutes on 2 cores (AMD EPYC).
    "tatoeba_zh_en": Config(
        source="files",
        languages=("zh", "en"),
        columns=(1, 0),
        target_tokenizer="subword",
        vocabulary_size=4000,
        embedding_dim=256,
        units=256,
        dropout=0.4,
        epochs=18,
        pad_to_multiple_of=4,
        max_length=60,
    ),
    # The same data in the other direction. Test BLEU (tok:zh) 32.48 (nearest training sentence: 18.36);
    # 5.30 M parameters, 12 epochs in 18 minutes on 2 cores (AMD EPYC).
    "tatoeba_en_zh": Config(
        source="files",
        source_tokenizer="subword",
        vocabulary_size=4000,
        lowercase=True,
        embedding_dim=256,
        units=256,
        dropout=0.4,
        epochs=12,
        pad_to_multiple_of=4,
        max_length=60,
    ),
}

TINY = Config(
    embedding_dim=16,
    units=16,
    decoder_layers=2,
    dropout=0.0,
    epochs=2,
    batch_size=32,
    pad_to_multiple_of=24,  # a single length, so that XLA compiles once
    max_examples=2000,
    max_length=24,
    beam_width=2,
)
