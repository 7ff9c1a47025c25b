"""Characters right of an exported pinyin model on the test sentences, beside two baselines.

python -m apps.pinyin_conversion.evaluate saved_models/pinyin_conversion_sentences --data-dir DIR
"""

import collections
import pathlib
import re
import tempfile
from typing import Annotated

import numpy as np
import tensorflow as tf
import tyro
from tqdm import tqdm

from shared import results
from shared.errors import reported
from shared.files import write_jsonl
from shared.serving import export
from shared.serving.clients import SavedModelClient

from . import data
from .baselines import by_counts
from .config import Config
from .readings import Readings
from .trigram import Trigram

COLUMNS = ("group", "input", "target", "output", "score")  # of the predictions


def evaluate(folder, config, predictions=None):
    """Converts the pinyin of the test sentences through the SavedModel in `folder`.

    Args:
        folder: a version folder, or the folder that holds versions.
        config: says where the sentences are.
        predictions: a .jsonl file to write, an object for each sentence: `COLUMNS`; None writes none.

    Returns:
        a dict: `metric` in words, its `value`, the `baseline`'s name and `baseline_value`; and more.
    """
    client = SavedModelClient(folder)
    names, inputs, texts = test_sentences(config)
    outputs, score = _ask(client, "serving_default", inputs, "outputs", "score")
    apart = [pinyin.replace(" ", "") for pinyin in inputs]
    (unseparated,) = _ask(client, "serving_default", apart, "outputs")
    (cut,) = _ask(client, "segment", apart, "outputs")
    baselines, reached = _baselines(config, inputs, texts)
    if predictions:
        rows = zip(names, inputs, texts, outputs, score, strict=True)
        write_jsonl(predictions, (dict(zip(COLUMNS, row, strict=True)) for row in rows))
    made = {"model": outputs, "unseparated": unseparated, **baselines}
    counts = [
        i
        for i, group in enumerate(names)
        if group not in {*config.exclude_groups, *config.extra_tests}
    ]
    overall = {
        name: _accuracy([found[i] for i in counts], [texts[i] for i in counts])
        for name, found in made.items()
    }
    name = max(baselines, key=lambda name: overall[name][0])
    without = ", ".join(config.exclude_groups)
    same = [a == b for a, b in zip(cut, inputs, strict=True)]
    return {
        "metric": f"characters right, %{f', without {without}' if without else ''}",
        "value": overall["model"][0],
        "baseline": name,
        "baseline_value": overall[name][0],
        "sentences_right": overall["model"][1],
        "overall": overall,
        "groups": {name: _by_group(names, found, texts) for name, found in made.items()},
        "ceiling": {name: right for name, (right, _) in _by_group(names, reached, texts).items()},
        "segmented_right": round(100 * float(np.mean(same)), 2),
        "sentences": len(texts),
    }


def test_sentences(config):
    """The test sentences and those of `config.extra_tests`: names of their groups, pinyin, texts.

    Pinyin has spaces between syllables, and tones if the model is one of tones.
    """
    names, inputs, texts = [], [], []
    for split in ("test", *config.extra_tests):
        pairs = data.examples(config, split)
        names += data.groups(config, split) if split == "test" else [split] * len(pairs)
        inputs += [pinyin if config.tones else re.sub("[1-5]", "", pinyin) for pinyin, _ in pairs]
        texts += [text for _, text in pairs]
    return names, inputs, texts


def _ask(client, signature, inputs, *wanted, batch_size=64):
    """What the model answers to each of `inputs`: a list for each of the outputs that are wanted."""
    order = sorted(range(len(inputs)), key=lambda i: len(inputs[i]))  # less padding
    found = [[None] * len(inputs) for _ in wanted]
    for first in tqdm(range(0, len(order), batch_size), desc=signature, mininterval=1):
        rows = order[first : first + batch_size]
        answer = client.predict(signature, [inputs[i] for i in rows])
        for column, name in zip(found, wanted, strict=True):
            for i, value in zip(rows, answer[name], strict=True):
                column[i] = value.decode() if isinstance(value, bytes) else float(value)
    return found


def _accuracy(outputs, texts):
    """Percent of the characters that are right, and percent of the sentences.

    A character is right where the same stands at its place; of an output of another length, as many are
    as its edit distance leaves.
    """
    right = sum(map(_right, outputs, texts))
    whole = sum(o == t for o, t in zip(outputs, texts, strict=True))
    return [round(100 * right / sum(map(len, texts)), 2), round(100 * whole / len(texts), 2)]


def _right(output, text):
    if len(output) == len(text):
        return sum(a == b for a, b in zip(output, text, strict=True))
    characters = lambda t: tf.sparse.from_dense(tf.constant([*t], tf.string, [1, len(t)]))  # noqa: E731
    distance = tf.edit_distance(characters(output), characters(text), normalize=False)
    return max(0, len(text) - int(distance[0]))


def _by_group(names, outputs, texts):
    """{group: [percent of characters, percent of sentences]}."""
    of = collections.defaultdict(lambda: ([], []))
    for name, output, text in zip(names, outputs, texts, strict=True):
        of[name][0].append(output)
        of[name][1].append(text)
    return {name: _accuracy(*sides) for name, sides in of.items()}


def _baselines(config, inputs, texts):
    """Texts by the most frequent character of each syllable and by a trigram, {name: texts}.

    And the texts as far as the readings allow them at all, with a space for another character.
    """
    train = data.examples(config, "train")[: config.max_examples]
    with tempfile.TemporaryDirectory() as folder:
        readings = Readings.build(train, pathlib.Path(folder, "readings.txt"))
        ids = data.encode(config, readings, train)
        model = Trigram.build(ids["characters"], readings.size, pathlib.Path(folder, "trigram.npz"))
    counts = np.zeros((len(readings.tones), readings.tones.shape[1]))
    for codes, characters in zip(ids["codes"], ids["characters"], strict=True):
        seen = characters >= 0
        np.add.at(counts, (characters[seen], (codes[seen] - 1) % counts.shape[1]), 1)
    test = data.encode(config, readings, list(zip(inputs, texts, strict=True)))
    found = by_counts(model, readings, counts, test["codes"])
    reached = [
        "".join(c if number >= 0 else " " for c, number in zip(text, row, strict=True))
        for text, row in zip(texts, test["characters"], strict=True)
    ]
    return found, reached


@reported
def main(argv=None):
    """Prints the figures of a SavedModel, and records them if asked."""

    def command(
        folder: Annotated[pathlib.Path, tyro.conf.Positional],
        data_dir: str = "",
        record: bool = False,
    ):
        """Evaluate an exported model on the test sentences.

        Args:
            folder: saved_models/<name>, or a version in it
            data_dir: folder with the data, where the model was trained from files
            record: write the result to results/<preset>.json of this app
        """
        card = export.card_of(folder, __package__)
        config = Config(**{**card["config"], "data_dir": data_dir})
        results.check_data(card["data"], data.digests(config))
        test = evaluate(folder, config)
        for name, value in test.items():
            print(f"{name:28} {value}")
        if record:
            print(results.record(pathlib.Path(__file__).parent / "results", card, test))

    tyro.cli(command, prog=f"python -m {__package__}.evaluate", args=argv)


if __name__ == "__main__":
    main()
