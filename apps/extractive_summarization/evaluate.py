"""Evaluates an exported summarization model on the test split, beside baselines.

python -m apps.extractive_summarization.evaluate saved_models/extractive_summarization --data-dir DIR
"""

import dataclasses
import pathlib
import sys

import numpy as np

from shared import evaluation
from shared.errors import reported
from shared.files import write_jsonl
from shared.serving.clients import SavedModelClient

from . import baselines, data, highlights, metrics
from .config import Config
from .labelled import pieces, units_finder

BATCH_SIZE = 64
AT_REFERENCE_SIZE = "; as many sentences as the reference"


def evaluate(folder, config, splits, predictions=None):
    """Summarizes the test texts with the SavedModel in `folder`.

    The metrics of words are those of the default answer. Those of sentences are, as in publications, those
    of as many sentences as the reference has, by the signature `summarize`; the default answer is among
    the `systems`.

    Args:
        folder: a version folder, or the folder that holds versions.
        config: Config of the model.
        splits: {name: `Split`}.
        predictions: a .jsonl file to write, with an object for each text: `input`, `target` (its summary),
            `output`, `labels` and `keep`; beside it highlights.html and highlights.png are written, the best,
            median and worst examples. None writes no files.

    Returns:
        a dict: `metric` (its definition), `value`, `baseline` (its name), `baseline_value`; all metrics; and
        `systems`, the metrics of the baselines.
    """
    client = SavedModelClient(folder)
    test = Texts(config, splits["test"])
    answers = client.predict_all("explain", test.texts, BATCH_SIZE, "test")
    default = _reported(_kept(answers), answers["error"], splits["test"])
    systems = _baselines(config, splits, test)
    keep = default
    if config.level == "sentence":
        systems = {"the model, its own number of sentences": default, **systems}
        keep = _of_reference_size(client, test)
    figures, definitions = _scores(config, test, keep)
    headline = "f1" if config.level == "word" else "label_f1"
    scores = {name: _scores(config, test, labels)[0] for name, labels in systems.items()}
    best = max(
        (name for name in scores if not name.startswith("the model")),
        key=lambda name: scores[name][headline],
    )
    if predictions:
        rows = zip(
            test.texts, test.references, answers["outputs"], test.labels, default, strict=True
        )
        columns = ("input", "target", "output", "labels", "keep")
        write_jsonl(predictions, (dict(zip(columns, row, strict=True)) for row in rows))
        highlight(test, default, answers, pathlib.Path(predictions).with_name("highlights"))
    metric = definitions[headline]
    return {
        "metric": metric if config.level == "word" else metric + AT_REFERENCE_SIZE,
        "value": figures[headline],
        "baseline": best,
        "baseline_value": scores[best][headline],
        **figures,
        "systems": scores,
        "texts": len(test.texts),
    }


class Texts:
    """The texts of a split with their units.

    Args:
        config: Config of the model.
        split: a `Split` of texts and labels.
        count: number of texts; None: all.

    Attributes:
        texts: list of str.
        places: list of lists of (start, limit), the byte offsets of the units.
        units: list of lists of str.
        labels: list of lists of 0 and 1.
        references: list of str, the reference summaries.
    """

    def __init__(self, config, split, count=None):
        examples = split[: len(split) if count is None else count]
        self.texts = [text for text, _ in examples]
        find, self.places = units_finder(config.level, config.language), []
        for start in range(0, len(self.texts), data.CHUNK):
            self.places += find(self.texts[start : start + data.CHUNK])
        self.units = [pieces(*pair) for pair in zip(self.texts, self.places, strict=True)]
        self.labels = [[*map(int, labels)] for _, labels in examples]
        self.references = [split.references(i) for i in range(len(examples))]


def _scores(config, test, keep):
    """Returns {metric: figure} and {metric: definition}."""
    if config.level == "word":
        return metrics.word_scores(test.units, test.labels, keep, config.language)
    return metrics.sentence_scores(test.units, test.labels, keep, test.references, config.language)


def _reported(keep, errors, split):
    """Reports the texts that the model refuses, in one line on stderr; none of their units counts as kept."""
    bad = [i for i, row in enumerate(keep) if not row]
    if bad:
        print(
            f"{split.name}: {len(bad):,} of {len(split):,} texts are not summarized; the first is "
            f"{split.label(bad[0])}: {errors[bad[0]]}",
            file=sys.stderr,
        )
    return [row or [0] * len(split[i][1]) for i, row in enumerate(keep)]


def _kept(answers):
    """Returns the labels of the answers of a signature, a list of lists; [] for a text that is refused."""
    return [row[:n].tolist() for row, n in zip(answers["keep"], answers["length"], strict=True)]


def _of_reference_size(client, test):
    """Returns the labels of as many sentences as the reference has, the most probable ones."""
    counts = [sum(labels) for labels in test.labels]
    ratio = [count / len(labels) for count, labels in zip(counts, test.labels, strict=True)]
    kept = _kept(
        client.predict_all(
            "summarize", test.texts, BATCH_SIZE, "test, size of the reference",
            ratio=np.array(ratio, np.float32), max_sentences=np.maximum(counts, 1),
        )
    )  # fmt: skip
    return [row or [0] * len(labels) for row, labels in zip(kept, test.labels, strict=True)]


def _baselines(config, splits, test):
    """Returns the labels of the baselines for the test texts, {name: list of lists}."""
    train = Texts(config, splits["train"], config.max_examples)
    valid = Texts(config, splits["valid"])
    known, tuned = (train.units, train.labels), (valid.units, valid.labels)
    level, language = config.level, config.language
    counts = None if level == "word" else [sum(labels) for labels in test.labels]
    kind = "words" if level == "word" else "sentences"
    systems = {
        f"all {kind}": baselines.keep_all(test.units),
        f"the first {kind}": baselines.first_k(tuned, test.units, level, counts),
        "logistic regression": baselines.logistic_regression(
            known, tuned, test.units, level, language, counts
        ),
    }
    if level == "sentence":
        systems["degree of word overlap"] = baselines.centrality(
            tuned, test.units, language, counts
        )
    return systems


def picture(options, config, split):
    """Writes the files of --picture."""
    client, test = SavedModelClient(options.folder), Texts(config, split)
    answers = client.predict_all("explain", test.texts, BATCH_SIZE, "test")
    keep = [row or [0] * len(gold) for row, gold in zip(_kept(answers), test.labels, strict=True)]
    highlight(test, keep, answers, options.picture)


def highlight(test, keep, answers, path):
    """Writes <path>.html and <path>.png: the texts with the best, median and worst F1, and their labels."""
    scores = metrics.f1(test.labels, keep)
    examples = [
        highlights.Example(
            f"{name}: F1 {100 * scores[i]:.1f}",
            test.texts[i],
            test.places[i],
            test.labels[i],
            keep[i],
            [*map(float, answers["probability"][i][: len(keep[i])])]
            if answers["length"][i]
            else None,
        )
        for name, i in highlights.choose(scores)
    ]
    highlights.write_html(examples, path.with_suffix(".html"))
    highlights.write_png(examples, path.with_suffix(".png"))


@dataclasses.dataclass(frozen=True)
class Options(evaluation.Options):
    """Evaluate an exported model on the test texts."""

    picture: pathlib.Path | None = None  # PNG file to write, and .html: the best and worst examples


@reported
def main(argv=None):
    """Prints the test result of a SavedModel; with --record, writes it to results/."""
    options, config, splits = evaluation.start(__package__, Config, data.splits, argv, Options)
    test = evaluate(options.folder, config, splits)
    if options.picture:
        picture(options, config, splits["test"])
    evaluation.finish(__package__, options, test)


if __name__ == "__main__":
    main()
