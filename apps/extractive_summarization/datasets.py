"""TensorFlow Datasets of texts with summaries."""

import itertools

from shared.data import sources
from shared.errors import InputError

from .labelled import Record, labelled_split, units_finder

FEATURES = {  # name of a dataset: its text and its summary
    "cnn_dailymail": ("article", "highlights"),
    "gigaword": ("document", "summary"),
    "xsum": ("document", "summary"),
    "multi_news": ("document", "summary"),
}


def read(config, dataset, name, units_of=None):
    """Opens a split of a TensorFlow Dataset with texts and summaries; the labels are found by `oracle`.

    Examples with an empty text or summary are left out.

    Args:
        config: the app's Config.
        dataset: name of the dataset, such as "cnn_dailymail" or "gigaword".
        name: "train", "valid" or "test". Of "train", `config.max_examples` are read.
        units_of: as for `files.read`.

    Returns:
        a `LabelledSplit`.

    Raises:
        InputError: the dataset is not known or not available.
    """
    features = FEATURES.get(dataset.split("/")[0].split(":")[0])
    if features is None:
        raise InputError(
            f"tfds:{dataset} is not known. Known: {', '.join(FEATURES)}; convert others to .jsonl files "
            "with text and summary"
        )
    examples = sources.tfds_examples(dataset, name, features, config.data_dir)
    texts = ([example[f].decode(errors="replace") for f in features] for example in examples)
    records = (
        Record(text, summary=summary) for text, summary in texts if text.strip() and summary.strip()
    )
    limit = config.max_examples if name == "train" else None
    records = list(itertools.islice(records, limit))
    if not records:
        raise InputError(f"tfds:{dataset} has no text for {name}")
    units_of = units_of or units_finder(config.level, config.language)
    return labelled_split(name, records, units_of, config.level, config.language)
