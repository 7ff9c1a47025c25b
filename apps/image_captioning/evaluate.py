"""Evaluates an exported captioning model on the test images, beside two baselines.

python -m apps.image_captioning.evaluate saved_models/image_captioning_flickr8k --data-dir DIR
"""

import collections.abc
import dataclasses
import pathlib

import numpy as np

from shared import evaluation
from shared.errors import reported
from shared.files import write_jsonl
from shared.serving.clients import SavedModelClient

from . import baselines, contact_sheet, data, metrics
from .config import Config
from .serve import N_BEST

BATCH_SIZE = 32


def evaluate(folder, config, splits, predictions=None):
    """Captions the test images with the SavedModel in `folder`.

    Args:
        folder: a version folder, or the folder that holds versions.
        config: Config of the model.
        splits: {name: `Split`}.
        predictions: a .jsonl file to write, with an object for each image: `input` (its name), `target`
            (its captions), `output` and `score`; beside it captions.png is written, images with captions
            and attention. None writes no files.

    Returns:
        a dict: `metric` (its definition), `value`, `baseline` (its name), `baseline_value`; all metrics;
        and `systems`, the metrics of the model with other beam widths, of the baselines, and, for photos,
        of a caption by a person.
    """
    client = SavedModelClient(folder)
    test, references = splits["test"], references_of(splits["test"])
    answers = client.predict_all("serving_default", Inputs(test), BATCH_SIZE, "test")
    outputs = answers["outputs"]
    if predictions:
        names = map(test.label, range(len(test)))
        rows = zip(names, references, outputs, map(float, answers["score"]), strict=True)
        columns = ("input", "target", "output", "score")
        write_jsonl(predictions, (dict(zip(columns, row, strict=True)) for row in rows))
        plot(client, config, test, outputs, pathlib.Path(predictions).with_name("captions.png"))
    is_drawn = config.source == "embedded"
    figures, definitions = _scores(outputs, references, config)
    headline = "exact_match" if is_drawn else "bleu_4"
    compared = {
        name: _scores(texts, references, config)[0]
        for name, texts in _baselines(config, splits, client).items()
    }
    best = max(compared, key=lambda name: compared[name][headline])
    systems = {**_other_beams(config, test, references, client), **compared}
    extra = {}
    if is_drawn:
        unseen = splits["unseen_pairs"]
        answers = client.predict_all("serving_default", Inputs(unseen), BATCH_SIZE, "unseen_pairs")
        extra["unseen_pairs"] = _exact_match(answers["outputs"], references_of(unseen))
    elif min(map(len, references)) > 1:
        first, others = [r[0] for r in references], [r[1:] for r in references]
        systems["a person, beside the other captions"] = _scores(first, others, config)[0]
    return {
        "metric": definitions[headline],
        "value": figures[headline],
        "baseline": best,
        "baseline_value": compared[best][headline],
        **figures,
        **extra,
        "systems": systems,
        "images": len(test),
    }


def _scores(outputs, references, config):
    """Returns {metric: figure} and {metric: definition}; drawn scenes have an exact match too."""
    figures, definitions = metrics.scores(outputs, references, config.language)
    if config.source == "embedded":
        figures["exact_match"] = _exact_match(outputs, references)
        definitions["exact_match"] = "captions that the grammar allows for the scene, %"
    return figures, definitions


class Inputs(collections.abc.Sequence):
    """The image files of a split, read when they are asked for."""

    def __init__(self, split):
        self.split = split

    def __len__(self):
        return len(self.split)

    def __getitem__(self, index):
        examples = self.split[index]
        return [file for file, _ in examples] if isinstance(index, slice) else examples[0]


def references_of(split):
    """Returns the captions of each image, a list of lists."""
    return [target.split("\n") for target in data.targets(split)]


def _exact_match(outputs, references):
    correct = [o in refs for o, refs in zip(outputs, references, strict=True)]
    return round(100 * float(np.mean(correct)), 2)


def _other_beams(config, test, references, client):
    """Returns the metrics of the model by beam searches of other widths than that of the config."""
    systems = {}
    for signature, beam_width in {"greedy": 1, "n_best": N_BEST}.items():
        if beam_width != config.beam_width:
            outputs = client.predict_all(signature, Inputs(test), BATCH_SIZE, signature)["outputs"]
            if signature == "n_best":
                outputs = [row[0] for row in outputs]
            name = f"the model, beam width {beam_width}"
            systems[name] = _scores(outputs, references, config)[0]
    return systems


def _baselines(config, splits, client):
    """Returns the captions of the baselines for the test images, {name: list of captions}."""
    train, test = data.used_images(config, splits["train"]), splits["test"]
    captions, language = references_of(train), config.language
    constant = baselines.constant(captions, references_of(splits["valid"]), language)
    train_features, test_features = (
        np.stack(client.predict_all("features", Inputs(s), BATCH_SIZE, s.name)["features"])
        for s in (train, test)
    )
    nearest = baselines.consensus(train_features, captions, test_features, language)
    return {"constant caption": [constant] * len(test), "consensus of similar images": nearest}


def plot(client, config, split, outputs, path):
    """Draws the images with the best, median and worst captions by CIDEr-D, and their attention."""
    references = references_of(split)
    scores = metrics.cider_d(outputs, references, config.language)
    order = np.argsort(-scores, kind="stable")
    middle = len(order) // 2
    parts = {"best": order[:2], "median": order[middle : middle + 2], "worst": order[-2:]}
    chosen = [i for part in parts.values() for i in part]
    names = [name for name, part in parts.items() for _ in part]
    files = [split[int(i)][0] for i in chosen]
    answer = client.predict("attend", files)
    rows = [
        contact_sheet.Row(
            f"{name}: {split.label(int(i))}",
            file,
            outputs[i],
            references[i],
            [t.decode() for t in answer["tokens"][k, : answer["length"][k]]],
            answer["attention"][k, : answer["length"][k]],
        )
        for k, (name, i, file) in enumerate(zip(names, chosen, files, strict=True))
    ]
    contact_sheet.write(rows, path)


@dataclasses.dataclass(frozen=True)
class Options(evaluation.Options):
    """Evaluate an exported model on the test images."""

    picture: pathlib.Path | None = None  # PNG file to write: images with captions and attention


@reported
def main(argv=None):
    """Prints the test result of a SavedModel; with --record, writes it to results/."""
    options, config, splits = evaluation.start(__package__, Config, data.splits, argv, Options)
    test = evaluate(options.folder, config, splits)
    if options.picture:
        client = SavedModelClient(options.folder)
        outputs = client.predict_all("serving_default", Inputs(splits["test"]), BATCH_SIZE)
        plot(client, config, splits["test"], outputs["outputs"], options.picture)
    evaluation.finish(__package__, options, test)


if __name__ == "__main__":
    main()
