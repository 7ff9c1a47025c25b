"""Settings of the captioning model, and the presets."""

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
    data_dir: tuple[str, ...] = ()  # folders with images and captions.{train,valid,test}.tsv
    captions: str = "captions"  # first part of the names of the .tsv files
    language: str = "en"  # of the captions, a code of ISO 639
    tokenizer: Literal["char", "word", "subword"] = "word"  # kind of tokens
    vocabulary_size: Positive | None = None  # maximum number of tokens; None: all; subwords need it
    min_count: Positive = 1  # tokens with fewer occurrences become <unk>

    # Model
    encoder: str = "small_cnn"  # or efficientnet_lite0, a name of keras.applications, a .keras file
    finetune: bool = False  # train a pretrained encoder too; off: its features are computed once
    image_size: Positive = 64  # height and width of the images that small_cnn reads
    encoder_filters: tuple[Positive, ...] = (24, 48, 96)  # filters of the stages of small_cnn
    cell: Literal["simple_rnn", "lstm", "gru", "peephole_lstm"] = "peephole_lstm"  # recurrent cell
    embedding_dim: Positive = 128  # size of an embedding, which is tied to the softmax
    units: Positive = 256  # size of a hidden state, and of the projected features
    num_layers: Positive = 2  # recurrent layers of the decoder; the first computes the query
    attention: Literal["additive", "general", "none"] = "additive"  # score of the attention
    coverage: NonNegativeFloat = 0.0  # weight of the doubly stochastic penalty of the attention
    dropout: Fraction = 0.1  # dropout rate of features, embeddings and outputs, and between layers
    recurrent_dropout: Fraction = 0.0  # dropout rate of the hidden state between time steps

    # Training
    objective: Literal["cross_entropy", "cider"] = "cross_entropy"  # cider: see self_critical.py
    samples: Positive = 5  # sampled captions of an image, if the objective is cider
    epochs: Positive = 6  # passes over the captions
    batch_size: Positive = 64  # captions per step
    pad_to_multiple_of: Positive = 4  # captions are padded to a multiple of this number of tokens
    learning_rate: PositiveFloat = 0.003  # highest learning rate; cosine decay to zero
    warmup_steps: NonNegative = 100  # steps of linear warm-up
    weight_decay: NonNegativeFloat = 0.0  # decoupled weight decay
    clip_norm: NonNegativeFloat = 1.0  # maximum global norm of the gradient; 0: no clipping
    label_smoothing: Fraction = 0.0  # target probability that is spread over the vocabulary
    max_examples: Positive | None = None  # maximum number of training images; None: all
    max_length: Positive = 40  # maximum training length in tokens; longer captions are dropped
    patience: NonNegative = 0  # epochs without improvement before training stops; 0: off
    seed: Seed = 1  # seed of weights, dropout and the order of the captions

    # Serving
    max_request_bytes: Positive = 20_000_000  # size of an image file above which it is refused
    max_tokens: Positive = 40  # maximum length of a caption in tokens
    beam_width: Positive = 3  # beam width of serving_default
    length_penalty: NonNegativeFloat = 1.0  # exponent of the length normalization; 0: none

    def __post_init__(self):
        check_ranges(self)


_FLICKR8K = Config(
    source="files",
    encoder="efficientnet_lite0",
    min_count=5,
    embedding_dim=256,
    units=512,
    num_layers=1,
    attention="general",
    coverage=0.1,
    dropout=0.5,
    label_smoothing=0.1,
    epochs=12,
    learning_rate=0.002,
    length_penalty=0.6,
)
_CIDER = {  # continues a model that was trained by cross-entropy, with --init-from
    "objective": "cider",
    "coverage": 0.0,
    "label_smoothing": 0.0,
    "batch_size": 240,
    "epochs": 3,
    "learning_rate": 5e-5,
    "warmup_steps": 0,
    "length_penalty": 1.0,
}

PRESETS = {
    # Drawn scenes: 97.8 % of the captions are right, 86.0 % with pairs of colour and shape that are not in
    # training (constant caption: 0); the whole command takes 5 minutes on 2 cores.
    "default": Config(),
    # Flickr8k: 6,000 photos with five English captions each, ImageNet features. BLEU-4 20.33 (consensus of
    # similar images: 16.85); 15 minutes on 2 cores.
    "flickr8k": _FLICKR8K,
    # --init-from the run of flickr8k: maximizes CIDEr-D. BLEU-4 20.89; 6 minutes more.
    "flickr8k_cider": dataclasses.replace(_FLICKR8K, **_CIDER),
    # The same photos with five Chinese captions each; tokens are characters, and so are the n-grams of the
    # metric. BLEU-4 36.89 (consensus of similar images: 36.21); 15 minutes on 2 cores.
    "flickr8k_zh": dataclasses.replace(
        _FLICKR8K, captions="captions_zh", language="zh", tokenizer="char", pad_to_multiple_of=8
    ),
    # The encoder is trained with the decoder, without ImageNet weights. BLEU-4 9.04 (constant caption 7.44,
    # consensus of similar images 7.63); 48 minutes on 2 cores.
    "flickr8k_scratch": dataclasses.replace(
        _FLICKR8K, encoder="small_cnn", image_size=96, encoder_filters=(32, 64, 128, 256)
    ),
}

TINY = Config(
    encoder_filters=(4, 8, 8),
    embedding_dim=16,
    units=16,
    num_layers=1,
    dropout=0.0,
    epochs=2,
    pad_to_multiple_of=24,  # a single length, so that little is compiled
    max_examples=300,
    max_request_bytes=90_000,
    max_tokens=20,
    beam_width=2,
)
