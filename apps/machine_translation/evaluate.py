"""Evaluates an exported translation model on the test pairs, beside two baselines.

python -m apps.machine_translation.evaluate saved_models/machine_translation_multi30k_en_de --data-dir DIR
"""

import collections
import dataclasses
import itertools
import pathlib
import re
import sys

import numpy as np

from shared import evaluation, plots
from shared.errors import InputError, reported
from shared.files import write_jsonl
from shared.serving.clients import SavedModelClient
from shared.text.languages import bleu_tokenizer, is_unseparated
from shared.text.vocabulary import END_TOKEN

from . import data
from .config import Config
from .serve import N_BEST


def evaluate(folder, config, splits, predictions=None):
    """Translates the test sentences with the SavedModel in `folder`.

    Args:
        folder: a version folder, or the folder that holds versions.
        config: Config of the model.
        splits: {name: `Split`}.
        predictions: a .jsonl file to write, with an object for each pair: `input`, `target`, `output` and
            `score`; beside it alignment.png is written, the attention of some translations. None writes
            no files.

    Returns:
        a dict: `metric` (its definition), `value`, `baseline` (its name), `baseline_value`, and more.
    """
    client = SavedModelClient(folder)
    sentences, references = zip(*splits["test"], strict=True)
    beams = []
    widths = {"greedy": 1, "serving_default": config.beam_width, "n_best": N_BEST}
    for signature, beam_width in widths.items():
        answer = client.predict_all(signature, sentences, description=signature)
        outputs, score = answer["outputs"], answer["score"]
        if signature == "n_best":
            outputs = [row[0] for row in outputs]
        figures, metrics = scores(outputs, references, config)
        beams.append({"beam_width": beam_width, **figures})
        if signature == "serving_default":
            test, default_outputs, default_score = figures, outputs, score
            _report_untranslated(answer, splits["test"])
    if predictions:
        rows = zip(sentences, references, default_outputs, map(float, default_score), strict=True)
        columns = ("input", "target", "output", "score")
        write_jsonl(predictions, (dict(zip(columns, row, strict=True)) for row in rows))
        plot_attention(client, sentences, pathlib.Path(predictions).with_name("alignment.png"))
    headline = "exact_match" if config.source == "embedded" else "bleu_lowercase"
    baselines = {
        "copy of the source": sentences,
        "nearest training sentence": _nearest(config, splits["train"], sentences),
    }
    baselines = {name: scores(b, references, config)[0] for name, b in baselines.items()}
    name = max(baselines, key=lambda name: baselines[name][headline])
    return {
        "metric": metrics[headline],
        "value": test[headline],
        "baseline": name,
        "baseline_value": baselines[name][headline],
        **test,
        "baselines": baselines,
        "beams": beams,
        "pairs": len(sentences),
    }


def _report_untranslated(answer, split):
    """Reports the sentences that the model refuses, in one line on stderr; they count as "" in the scores."""
    bad = [i for i, error in enumerate(answer["error"]) if error and not answer["outputs"][i]]
    if bad:
        print(
            f"{split.name}: {len(bad):,} of {len(split):,} sentences are not translated; the first is "
            f"{split.label(bad[0])}: {answer['error'][bad[0]]}",
            file=sys.stderr,
        )


def scores(outputs, references, config):
    """Computes BLEU and chrF with `sacrebleu`, and the share of exact matches.

    Returns:
        a dict of `bleu`, `bleu_lowercase`, `chrf` and `exact_match` (percent), and a dict of their
        definitions.
    """
    try:
        import sacrebleu
    except ImportError:
        raise InputError("BLEU needs the package sacrebleu: pip install sacrebleu") from None
    tokenize = bleu_tokenizer(config.languages[1])
    metrics = {
        "bleu": sacrebleu.BLEU(tokenize=tokenize),
        "bleu_lowercase": sacrebleu.BLEU(tokenize=tokenize, lowercase=True),
        "chrf": sacrebleu.CHRF(),
    }
    figures, definitions = {}, {}
    for name, metric in metrics.items():
        figures[name] = round(metric.corpus_score(list(outputs), [list(references)]).score, 2)
        definitions[name] = f"{'chrF' if name == 'chrf' else 'BLEU'} ({metric.get_signature()})"
    same = np.mean([o == r for o, r in zip(outputs, references, strict=True)])
    figures["exact_match"] = round(100 * float(same), 2)
    definitions["exact_match"] = "exact match, %"
    return figures, definitions


def _nearest(config, train, sentences):
    """Returns, for each sentence, the translation of the most similar training sentence.

    The similarity is the sum of the idf of the shared words, divided by the square root of the number of
    words of the training sentence. Without the division, long sentences, which share a word with almost
    every sentence, would always win.
    """
    words = [_words(source, config) for source, _ in train]
    sentences_with = collections.defaultdict(list)
    for i, words_of_sentence in enumerate(words):
        for word in words_of_sentence:
            sentences_with[word].append(i)
    length = np.sqrt([max(1, len(w)) for w in words])
    translations = []
    for sentence in sentences:
        similarity = np.zeros(len(train))
        for word in _words(sentence, config):
            if word in sentences_with:
                matches = sentences_with[word]
                similarity[matches] += np.log(len(train) / len(matches)) + 1e-3
        translations.append(train[int(np.argmax(similarity / length))][1])
    return translations


def _words(sentence, config):
    """Returns the set of words and punctuation marks, or of characters and character pairs."""
    sentence = sentence.lower()
    if is_unseparated(config.languages[0]):
        return {*sentence, *map("".join, itertools.pairwise(sentence))}
    return set(re.findall(r"\w+|[^\w\s]", sentence))


def plot_attention(client, sentences, path, count=4):
    """Draws the attention of the translations of `count` sentences of medium length.

    Sentences that the model does not translate have none.
    """
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    middle = order[len(order) // 2 :][:count]
    answer = client.predict("align", [sentences[i] for i in middle])
    panels = []
    for row in np.flatnonzero(answer["target_length"]):
        rows, columns = answer["target_length"][row], answer["source_length"][row]
        panels.append(
            (
                answer["attention"][row, :rows, :columns],
                [_token_label(t) for t in answer["target_tokens"][row, :rows]],
                [_token_label(t) for t in answer["source_tokens"][row, :columns]],
            )
        )
    if panels:
        plots.attention(panels, path)


def _token_label(token):
    """Returns a visible label: the end of a sentence and a space could not be seen."""
    return END_TOKEN if token == b"\n" else token.decode().strip() or "\u2423"


@dataclasses.dataclass(frozen=True)
class Options(evaluation.Options):
    """Evaluate an exported model on the test pairs."""

    picture: pathlib.Path | None = None  # PNG file to write: the attention of some translations


@reported
def main(argv=None):
    """Prints the test result of a SavedModel; with --record, writes it to results/."""
    options, config, splits = evaluation.start(__package__, Config, data.splits, argv, Options)
    test = evaluate(options.folder, config, splits)
    if options.picture:
        sentences = [source for source, _ in splits["test"]]
        plot_attention(SavedModelClient(options.folder), sentences, options.picture)
    evaluation.finish(__package__, options, test)


if __name__ == "__main__":
    main()
