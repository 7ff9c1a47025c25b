"""Every setting of the translation model, and the presets."""

import dataclasses
from typing import Literal

from shared.errors import at_least_one, fraction


@dataclasses.dataclass(frozen=True)
class Config:
    """The model and its training."""

    # Data
    source: str = "embedded"  # embedded, files (needs --data-dir), or tfds:<name>
    data_dir: str = ""  # folder with train.tsv, or train.en and train.de; valid and test likewise
    languages: tuple[str, str] = ("en", "zh")  # from and to: names of files, features; BLEU's words
    columns: tuple[int, int] = (0, 1)  # of a .tsv: the sentence and its translation, from 0
    source_tokenizer: Literal["char", "word", "subword"] = "char"  # what a token of the sentence is
    target_tokenizer: Literal["char", "word", "subword"] = "char"  # and of its translation
    vocabulary_size: int | None = None  # tokens of each language, or of both; subwords need it
    shared_vocabulary: bool = False  # one vocabulary and one embedding for both languages
    lowercase: bool = False  # of the sentence, not of its translation

    # Model
    cell: Literal["simple_rnn", "lstm", "gru", "peephole_lstm"] = "peephole_lstm"  # recurrent cell
    embedding_dim: int = 128  # size of an embedding
    units: int = 128  # size of a state; the encoder has as many in each direction
    encoder_layers: int = 1  # recurrent layers that read the sentence, in both directions
    decoder_layers: int = 2  # recurrent layers that write; the attention follows the first
    attention: Literal["additive", "general"] = "additive"  # how a score is made
    input_feeding: bool = False  # what was attended to enters the next step; slower, step by step
    layer_norm: bool = False  # of what the recurrent layers give
    dropout: float = 0.1  # of embeddings, between layers, and before the softmax; a fraction
    recurrent_dropout: float = 0.0  # of h on its way to the next step; a fraction

    # Training
    epochs: int = 10  # passes over the training pairs
    batch_size: int = 64  # pairs in a step
    pad_to_multiple_of: int = 8  # lengths are padded to one of it; 4: less padding, more to compile
    learning_rate: float = 0.003  # at its highest; cosine decay to zero
    warmup_steps: int = 100  # steps in which the rate climbs to its highest
    weight_decay: float = 0.0  # decoupled, of every weight
    clip_norm: float = 1.0  # the gradient's global norm is cut to it; 0: never
    label_smoothing: float = 0.1  # of each target's probability, spread over the vocabulary
    max_examples: int | None = None  # training pairs that are used, the first so many; None: all
    max_length: int = 100  # tokens; of longer pairs nothing is learned, but the test has them
    patience: int = 0  # epochs without a better validation before training stops; 0: never
    seed: int = 1  # of weights, dropout and the order of pairs

    # Serving
    beam_width: int = 4  # hypotheses of the default answer
    length_penalty: float = 1.0  # 0 prefers short translations, 1 is nearly a mean over the tokens

    def __post_init__(self):
        at_least_one(
            self, "embedding_dim", "units", "encoder_layers", "decoder_layers", "epochs", "batch_size",
            "pad_to_multiple_of", "max_length", "beam_width",
        )  # fmt: skip
        fraction(self, "dropout", "recurrent_dropout", "label_smoothing")


PRESETS = {
    # English to Chinese from CLDR, as Babel has it: dates, times, amounts, lists, names. Test: 97.5 % right
    # to the letter, beside 6.2 of the sentence itself; 0.96 M parameters, 7 epochs in 2.1 minutes on 2
    # cores (AMD EPYC).
    "default": Config(dropout=0.05, batch_size=32, label_smoothing=0.05, epochs=7),
    # Multi30k task 1, raw: train.{en,de}, val.{en,de}, test_2016_flickr.{en,de}. SHA-256 of the pairs, each a
    # line with a tab between:
    # train c1a00bc02ecdb46c6df9032b05537a0f9ccb8f8badf9c27c6d2b5fef14258da4
    # valid 2da4aa9f2f00e8aa94e3df29b4669e663fe821b662405a2d9b7fe9ca0ca1f837
    # test  5a087b0b6254fc8da010153b56c4450c369a2709abed12cce8b9ef6db260db35
    # Test BLEU in lower case 37.5, cased 37.18, beside 8.61 of the nearest translation; 4.58 M parameters,
    # 24 epochs in 56 minutes on 2 cores (AMD EPYC); 35.86 after the first 24 minutes.
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
    # Test BLEU in lower case 29.06, cased 28.71, beside 14.85 of the nearest translation; 5.30 M parameters,
    # 18 epochs in 27 minutes on 2 cores (AMD EPYC).
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
    # The same the other way round. Test BLEU (tok:zh) 32.48, beside 18.36 of the nearest translation;
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
    pad_to_multiple_of=24,  # one length, so that little is compiled
    max_examples=2000,
    max_length=24,
    beam_width=2,
)
