"""Evaluates an exported pinyin model on the test sentences, beside two baselines.

python -m apps.pinyin_conversion.evaluate saved_models/pinyin_conversion_sentences --data-dir DIR
"""

import collections
import pathlib
import re
import tempfile

import numpy as np
import tensorflow as tf

from shared import evaluation
from shared.errors import reported
from shared.files import write_jsonl
from shared.serving.clients import SavedModelClient
from shared.text.ngram_table import TrigramTable

from . import baselines, data
from .config import Config
from .lexicon.readings import NUM_TONES, Readings

COLUMNS = ("group", "input", "target", "output", "score")  # of the predictions
BATCH_SIZE = 64


def evaluate(folder, config, splits, predictions=None):
    """Converts the pinyin of the test sentences with the SavedModel in `folder`.

    Args:
        folder: a version folder, or the folder that holds versions.
        config: Config of the model.
        splits: {name: `PinyinSplit`}.
        predictions: a .jsonl file to write, with an object of `COLUMNS` for each sentence. None writes
            no file.

    Returns:
        a dict: `metric` (its definition), `value`, `baseline` (its name), `baseline_value`, and more.
    """
    client = SavedModelClient(folder)
    groups, inputs, targets = test_sentences(config, splits)
    answers = client.predict_all("serving_default", inputs, BATCH_SIZE, "test")
    unseparated = [pinyin.replace(" ", "") for pinyin in inputs]
    converted = client.predict_all("serving_default", unseparated, BATCH_SIZE, "test, unseparated")
    segmented = client.predict_all("segment", unseparated, BATCH_SIZE, "segmentation")["outputs"]
    baseline_outputs, reachable = _baselines(config, splits, inputs, targets)
    if predictions:
        scores = map(float, answers["score"])
        rows = zip(groups, inputs, targets, answers["outputs"], scores, strict=True)
        write_jsonl(predictions, (dict(zip(COLUMNS, row, strict=True)) for row in rows))
    outputs = {
        "model": answers["outputs"], "unseparated": converted["outputs"], **baseline_outputs
    }  # fmt: skip
    excluded = {*config.exclude_groups, *config.extra_tests}
    counted = [i for i, group in enumerate(groups) if group not in excluded]
    overall = {
        name: _accuracy([texts[i] for i in counted], [targets[i] for i in counted])
        for name, texts in outputs.items()
    }
    baseline = max(baseline_outputs, key=lambda name: overall[name][0])
    names = ", ".join(config.exclude_groups)
    correct = [a == b for a, b in zip(segmented, inputs, strict=True)]
    return {
        "metric": f"character accuracy, %{f' (without {names})' if names else ''}",
        "value": overall["model"][0],
        "baseline": baseline,
        "baseline_value": overall[baseline][0],
        "sentence_accuracy": overall["model"][1],
        "overall": overall,
        "groups": {name: _by_group(groups, texts, targets) for name, texts in outputs.items()},
        "ceiling": {
            name: characters
            for name, (characters, _) in _by_group(groups, reachable, targets).items()
        },
        "segmentation_accuracy": round(100 * float(np.mean(correct)), 2),
        "sentences": len(targets),
    }


def test_sentences(config, splits):
    """Returns the groups, pinyin and text of the test sentences and of those of `config.extra_tests`.

    Pinyin has spaces between syllables, and tones if the model has them.
    """
    groups, inputs, targets = [], [], []
    for name in ("test", *config.extra_tests):
        split = splits[name]
        groups += split.groups if name == "test" else [name] * len(split)
        inputs += [pinyin if config.tones else re.sub("[1-5]", "", pinyin) for pinyin, _ in split]
        targets += [text for _, text in split]
    return groups, inputs, targets


def _accuracy(outputs, targets):
    """Returns the percentages of characters and of sentences that are right.

    Characters are compared by position. If the lengths differ, the number of right characters is the
    length of the target minus the edit distance.
    """
    right = sum(map(_right, outputs, targets))
    exact = sum(o == t for o, t in zip(outputs, targets, strict=True))
    return [round(100 * right / sum(map(len, targets)), 2), round(100 * exact / len(targets), 2)]


def _right(output, target):
    if len(output) == len(target):
        return sum(a == b for a, b in zip(output, target, strict=True))
    characters = lambda t: tf.sparse.from_dense(tf.constant([*t], tf.string, [1, len(t)]))  # noqa: E731
    distance = tf.edit_distance(characters(output), characters(target), normalize=False)
    return max(0, len(target) - int(distance[0]))


def _by_group(groups, outputs, targets):
    """Returns {group: [percentage of characters, percentage of sentences]}."""
    members = collections.defaultdict(lambda: ([], []))
    for group, output, target in zip(groups, outputs, targets, strict=True):
        members[group][0].append(output)
        members[group][1].append(target)
    return {group: _accuracy(*columns) for group, columns in members.items()}


def _baselines(config, splits, inputs, targets):
    """Converts the test sentences without the network.

    Returns:
        {name of the baseline: texts}; and the targets, with a space in place of each character that the
        table of readings does not allow.
    """
    train = splits["train"][: config.max_examples]
    with tempfile.TemporaryDirectory() as folder:
        readings = Readings.build(train, pathlib.Path(folder, "readings.txt"))
        ids = data.encode(config, readings, train)
        path = pathlib.Path(folder, "trigram.npz")
        trigram = TrigramTable.build(ids["readings"], readings.size, path)
    counts = np.zeros((readings.size, NUM_TONES))
    for codes, numbers in zip(ids["codes"], ids["readings"], strict=True):
        known = numbers >= 0
        np.add.at(counts, (numbers[known], (codes[known] - 1) % NUM_TONES), 1)
    test = data.encode(config, readings, list(zip(inputs, targets, strict=True)))
    reachable = [
        "".join(c if number >= 0 else " " for c, number in zip(text, numbers, strict=True))
        for text, numbers in zip(targets, test["readings"], strict=True)
    ]
    return baselines.convert(trigram, readings, counts, test["codes"]), reachable


@reported
def main(argv=None):
    """Prints the test result of a SavedModel; with --record, writes it to results/."""
    options, config, splits = evaluation.start(__package__, Config, data.splits, argv)
    evaluation.finish(__package__, options, evaluate(options.folder, config, splits))


if __name__ == "__main__":
    main()
