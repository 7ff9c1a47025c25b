"""Metrics of captions against several references: BLEU, chrF and CIDEr-D."""

import collections
import math
import unicodedata

import numpy as np

from shared.errors import InputError
from shared.text.languages import bleu_tokenizer, is_unseparated

MAX_N = 4  # the longest n-grams of CIDEr-D
SIGMA = 6.0  # of the penalty for a caption of another length than the reference


def scores(outputs, references, language="en"):
    """Computes all metrics of a set of captions.

    Args:
        outputs: list of captions.
        references: list of lists of captions, the references of each output.
        language: of the captions; without spaces between words, characters are counted.

    Returns:
        a dict of `bleu_1` to `bleu_4`, `chrf`, `cider_d` and `distinct` (percent of the outputs that are
        different captions), and a dict of the definitions of these names.

    Raises:
        InputError: sacrebleu is not installed.
    """
    try:
        import sacrebleu
    except ImportError:
        raise InputError("BLEU needs the package sacrebleu: pip install sacrebleu") from None
    # sacrebleu wants the first references of all outputs, then the second ones, and so on.
    count = max(map(len, references))
    streams = [[refs[i] if i < len(refs) else None for refs in references] for i in range(count)]
    figures, definitions = {}, {}
    for n in range(1, MAX_N + 1):
        metric = sacrebleu.BLEU(
            lowercase=True, tokenize=bleu_tokenizer(language), max_ngram_order=n, force=True
        )
        figures[f"bleu_{n}"] = round(metric.corpus_score(outputs, streams).score, 2)
        definitions[f"bleu_{n}"] = f"BLEU-{n} ({metric.get_signature()})"
    metric = sacrebleu.CHRF(lowercase=True)
    figures["chrf"] = round(metric.corpus_score(outputs, streams).score, 2)
    definitions["chrf"] = f"chrF ({metric.get_signature()})"
    figures["cider_d"] = round(float(np.mean(cider_d(outputs, references, language))), 2)
    definitions["cider_d"] = "CIDEr-D (n = 1 to 4, sigma 6, idf of the test references), 0 to 10"
    figures["distinct"] = round(100 * len(set(outputs)) / len(outputs), 2)
    definitions["distinct"] = "distinct captions, %"
    return figures, definitions


def is_punctuation(character):
    """Returns whether a character is a punctuation mark or a symbol of Unicode."""
    return unicodedata.category(character)[0] in "PS"


def words(caption, language="en"):
    """Returns the lower-case words of a caption without punctuation, or its characters."""
    caption = "".join(" " if is_punctuation(c) else c for c in caption.lower())
    return list("".join(caption.split())) if is_unseparated(language) else caption.split()


def cider_d(outputs, references, language="en"):
    """Returns the CIDEr-D of each output, float64 (outputs,); the arguments are those of `scores`."""
    cider = CiderD([[words(r, language) for r in refs] for refs in references])
    return np.array([cider.score(i, words(o, language)) for i, o in enumerate(outputs)])


class CiderD:
    """CIDEr-D (Vedantam et al. 2015), the agreement of a caption with several references.

        g_k(c) = count of n-gram k in c * log(images / max(1, images that have k in a reference))
        CIDEr-D_n(c, S) = 10 / |S| sum_{s in S} exp(-(|c| - |s|)^2 / (2 sigma^2))
                          min(g(c), g(s)) . g(s) / (|g(c)| |g(s)|)
        CIDEr-D(c, S) = mean_n CIDEr-D_n(c, S)            n = 1 to 4

    Args:
        references: list of lists of captions, for each image; a caption is a list of tokens.
    """

    def __init__(self, references):
        frequency = collections.Counter()
        for of_image in references:
            frequency.update(set().union(*map(ngrams, of_image)))
        self._log_images = math.log(max(2, len(references)))
        self._log_frequency = {gram: math.log(count) for gram, count in frequency.items()}
        self._references = [[*map(self._weigh, of_image)] for of_image in references]

    def score(self, image, tokens):
        """Returns the score of a caption, a list of tokens, of an image, from 0 to 10."""
        own = self._weigh(tokens)
        return 10 * float(np.mean([_similarity(own, other) for other in self._references[image]]))

    def _weigh(self, tokens):
        """Returns the vectors of n = 1 to 4, dicts of weights, their norms, and the length."""
        vectors = [{} for _ in range(MAX_N)]
        for gram, count in ngrams(tokens).items():
            weight = count * (self._log_images - self._log_frequency.get(gram, 0.0))
            vectors[len(gram) - 1][gram] = weight
        norms = [math.sqrt(sum(w * w for w in vector.values())) for vector in vectors]
        return vectors, norms, len(tokens)


def ngrams(tokens):
    """Returns the counts of the n-grams of n = 1 to 4, {tuple of tokens: count}."""
    return collections.Counter(
        tuple(tokens[i : i + n]) for n in range(1, MAX_N + 1) for i in range(len(tokens) - n + 1)
    )


def _similarity(one, other):
    """Returns the mean over n of the clipped cosine, with the penalty of the lengths."""
    (vectors, norms, length), (other_vectors, other_norms, other_length) = one, other
    penalty = math.exp(-((length - other_length) ** 2) / (2 * SIGMA**2))
    total = 0.0
    for a, b, norm_a, norm_b in zip(vectors, other_vectors, norms, other_norms, strict=True):
        if norm_a and norm_b:
            product = sum(min(w, b[gram]) * b[gram] for gram, w in a.items() if gram in b)
            total += product / (norm_a * norm_b)
    return penalty * total / MAX_N
