"""Every setting of the pinyin model, and the presets."""

import dataclasses
from typing import Literal

from shared.errors import at_least_one, fraction


@dataclasses.dataclass(frozen=True)
class Config:
    """The model and its training."""

    # Data
    source: str = "embedded"  # embedded, files (needs --data-dir), or tfds:<name>
    data_dir: str = ""  # folder with train.tsv or train.txt; valid and test likewise
    columns: tuple[int, int] = (1, 0)  # of a .tsv: the pinyin and the text, from 0
    group_column: int | None = None  # of a .tsv: where a row is from, to tell results apart
    extra_tests: tuple[str, ...] = ()  # more test files of the folder, such as gold for gold.tsv
    lexicon_size: int = 350_000  # of the dictionary of jieba, the most frequent, that are known
    exclude_groups: tuple[str, ...] = ()  # groups that the headline leaves out
    tones: bool = False  # whether syllables have tones; without, those of the data are dropped
    tone_dropout: float = 0.05  # of the tones, in training, for who types without; a fraction

    # Model
    cell: Literal["simple_rnn", "lstm", "gru", "peephole_lstm"] = "peephole_lstm"  # recurrent cell
    embedding_dim: int = 192  # size of an embedding, of a syllable or a character
    units: int = 384  # size of the state, of each direction
    num_layers: int = 1  # recurrent layers
    bidirectional: bool = True  # whether what is to come counts; without, as one types
    dropout: float = 0.2  # of embeddings, between layers, and before the softmax; a fraction
    recurrent_dropout: float = 0.0  # of h on its way to the next step; a fraction

    # Training
    epochs: int = 5  # passes over the training sentences
    batch_size: int = 64  # sentences in a step
    pad_to_multiple_of: int = 4  # lengths are padded to one of it
    learning_rate: float = 0.003  # at its highest; cosine decay to zero
    warmup_steps: int = 100  # steps in which the rate climbs to its highest
    weight_decay: float = 0.0  # decoupled, of every weight
    clip_norm: float = 1.0  # the gradient's global norm is cut to it; 0: never
    max_examples: int | None = (
        None  # training sentences that are used, the first so many; None: all
    )
    max_length: int = 60  # syllables; of longer sentences nothing is learned, but the test has them
    patience: int = 0  # epochs without a better validation before training stops; 0: never
    seed: int = 1  # of weights, dropout and the order of sentences

    # Serving
    beam_width: int = 16  # hypotheses when characters are chosen
    network_weight: float = 0.75  # weight of the network's logarithms beside the trigram's

    def __post_init__(self):
        at_least_one(
            self, "embedding_dim", "units", "num_layers", "epochs", "batch_size",
            "pad_to_multiple_of", "max_length", "beam_width",
        )  # fmt: skip
        fraction(self, "tone_dropout", "dropout", "recurrent_dropout")


# Rows of source, pinyin and text: train.tsv, valid.tsv, test.tsv, gold_baker.tsv.
_SENTENCES = Config(
    source="files",
    columns=(1, 2),
    group_column=0,
    extra_tests=("gold_baker",),
    exclude_groups=("thchs30",),
)

PRESETS = {
    # Sentences from forms: 98.38 % of the characters right (the trigram: 97.43), 1 min on 2 cores.
    "default": Config(lexicon_size=50_000, units=96, embedding_dim=128, epochs=6),
    # 86.42 % of the characters right (the trigram: 84.01), 48 min on 2 cores.
    "sentences": _SENTENCES,
    # 94.06 % of the characters right (the trigram: 93.04), 54 min on 2 cores.
    "sentences_tones": dataclasses.replace(_SENTENCES, tones=True),
    # One syllable after the other, as one types: 84.99 % of the characters right (the trigram: 84.01),
    # 40 min on 2 cores. What is to come, only the beam tells: 64 gives 0.6 more on valid than 16.
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
    pad_to_multiple_of=20,  # one length, so that little is compiled
    max_examples=4000,
    beam_width=2,
)
