"""Metrics of labels and of the summaries that they make."""

from itertools import chain
from types import SimpleNamespace

import numpy as np

from shared.errors import InputError
from shared.text.languages import is_unseparated

from . import oracle
from .labelled import joined

MARKS_AT_END = set(".!?…。！？;；:：\"'”’»)）]】」』") | {"''", "..."}
DEFINITIONS = {
    "f1": "F1 of kept tokens, mean over sentences, %",
    "f1_without_punctuation": "the same without tokens that have no letter or digit",
    "f1_without_final_mark": "the same without the punctuation marks at the end",
    "label_f1": "F1 of kept sentences, micro-averaged over all sentences of all documents, %",
    "label_f1_mean": "F1 of kept sentences, mean over documents, %",
    "exact_match": "texts with every label right, %",
    "ratio": "characters of the kept units, joined, divided by those of all units; mean over texts, %",
    "reference_ratio": "ratio of the references",
    "rouge_1": "ROUGE-1 F, mean over documents, %",
    "rouge_2": "ROUGE-2 F, mean over documents, %",
    "rouge_lsum": "ROUGE-Lsum F, mean over documents, sentences in the order of the document, %",
}


def word_scores(tokens, labels, outputs, language="en"):
    """Computes the metrics of compressed sentences.

    Args:
        tokens: list of lists of str, the tokens of each sentence.
        labels: list of lists of 0 and 1, the references.
        outputs: list of lists of 0 and 1.
        language: of the tokens; without spaces between words, kept tokens are joined without spaces.

    Returns:
        a dict of `f1`, `f1_without_punctuation`, `f1_without_final_mark`, `exact_match`, `ratio` and
        `reference_ratio`, all in percent, and a dict of their definitions.
    """
    masks = {
        "f1": [np.ones(len(row), bool) for row in tokens],
        "f1_without_punctuation": [np.array([*map(_has_letter, row)], bool) for row in tokens],
        "f1_without_final_mark": [_before_final_marks(row) for row in tokens],
    }
    figures = {}
    for name, mask in masks.items():
        parts = (
            [
                [label for label, kept in zip(row, m, strict=True) if kept]
                for row, m in zip(rows, mask, strict=True)
            ]
            for rows in (labels, outputs)
        )
        figures[name] = _percent(f1(*parts))
    figures |= _common(tokens, labels, outputs, "word", language)
    return figures, {name: DEFINITIONS[name] for name in figures}


def sentence_scores(sentences, labels, outputs, references, language="en"):
    """Computes the metrics of summarized documents.

    Args:
        sentences: list of lists of str, the sentences of each document.
        labels, outputs: as for `word_scores`.
        references: list of str, the reference summaries; a line end separates sentences.
        language: of the sentences; ROUGE compares the characters of Chinese.

    Returns:
        a dict of `label_f1`, `label_f1_mean`, `rouge_1`, `rouge_2`, `rouge_lsum`, `exact_match`, `ratio` and
        `reference_ratio`, all in percent, and a dict of their definitions.

    Raises:
        InputError: rouge-score is not installed.
    """
    summaries = [
        joined(_kept(row, output), "sentence", language)
        for row, output in zip(sentences, outputs, strict=True)
    ]
    figures = {
        "label_f1": _percent(f1([[*chain(*labels)]], [[*chain(*outputs)]])),
        "label_f1_mean": _percent(f1(labels, outputs)),
        **{
            name: _percent(values)
            for name, values in rouge(summaries, references, language).items()
        },
        **_common(sentences, labels, outputs, "sentence", language),
    }
    return figures, {name: DEFINITIONS[name] for name in figures}


def f1(labels, outputs):
    """Returns F1 = 2 |kept in both| / (|kept in labels| + |kept in outputs|) of each text, float64 (texts,).

    If neither keeps anything, it is 1; if one of them keeps nothing, 0.

    Args:
        labels, outputs: lists of lists of 0 and 1.
    """
    values = []
    for label, output in zip(labels, outputs, strict=True):
        if len(label) != len(output):
            raise ValueError(f"{len(output)} outputs for {len(label)} labels")
        both = sum(1 for a, b in zip(label, output, strict=True) if a and b)
        total = sum(map(bool, label)) + sum(map(bool, output))
        values.append(2 * both / total if total else 1.0)
    return np.array(values)


def rouge(summaries, references, language="en"):
    """Computes ROUGE-1, ROUGE-2 and ROUGE-Lsum with `rouge-score` (with its stemmer for English).

    Args:
        summaries, references: lists of str; a line end separates sentences.
        language: of both; Chinese is compared by characters.

    Returns:
        {"rouge_1", "rouge_2", "rouge_lsum"}: F of each text, from 0 to 1, float64 (texts,). Two texts
        without words have 1.

    Raises:
        InputError: rouge-score is not installed.
    """
    try:
        from rouge_score import rouge_scorer, tokenizers
    except ImportError:
        raise InputError("ROUGE needs the package rouge-score: pip install rouge-score") from None

    tokenizer = (
        SimpleNamespace(tokenize=oracle.words)
        if is_unseparated(language)
        else tokenizers.DefaultTokenizer(use_stemmer=True)
    )
    names = {"rouge1": "rouge_1", "rouge2": "rouge_2", "rougeLsum": "rouge_lsum"}
    scorer = rouge_scorer.RougeScorer([*names], tokenizer=tokenizer)
    values = {name: [] for name in names.values()}
    for summary, reference in zip(summaries, references, strict=True):
        empty = not (tokenizer.tokenize(summary) or tokenizer.tokenize(reference))
        scores = {} if empty else scorer.score(reference, summary)
        for theirs, name in names.items():
            values[name].append(1.0 if empty else scores[theirs].fmeasure)
    return {name: np.array(row) for name, row in values.items()}


def _common(units, labels, outputs, level, language):
    """Returns the metrics of both levels."""
    ratios = {}
    for name, rows in (("ratio", outputs), ("reference_ratio", labels)):
        sizes = [
            len(joined(_kept(row, kept), level, language))
            / max(1, len(joined(row, level, language)))
            for row, kept in zip(units, rows, strict=True)
        ]
        ratios[name] = _percent(sizes)
    same = [[*map(bool, a)] == [*map(bool, b)] for a, b in zip(labels, outputs, strict=True)]
    return {"exact_match": _percent(same), **ratios}


def _kept(units, labels):
    return [unit for unit, label in zip(units, labels, strict=True) if label]


def _has_letter(token):
    return any(map(str.isalnum, token))


def _before_final_marks(tokens):
    """Returns which tokens are not among the punctuation marks at the end, bool (tokens,)."""
    mask = np.ones(len(tokens), bool)
    for i in range(len(tokens) - 1, -1, -1):
        if tokens[i] not in MARKS_AT_END:
            break
        mask[i] = False
    return mask


def _percent(values):
    return round(100 * float(np.mean(values)), 2) if len(values) else 0.0
