"""The words that the sentences of a document have in common."""

import itertools
import re

import numpy as np

from shared.text.languages import is_unseparated

# fmt: off
# The English stop words of NLTK (M. F. Porter's list, and contractions with their parts), and the parts of
# contractions that the tokenizer finds.
STOP_WORDS = set(
    """
    a about above after again against ain all am an and any are aren aren't as at be because been before
    being below between both but by can couldn couldn't d did didn didn't do does doesn doesn't doing don
    don't down during each few for from further had hadn hadn't has hasn hasn't have haven haven't having
    he her here hers herself him himself his how i if in into is isn isn't it it's its itself just ll m ma
    me mightn mightn't more most mustn mustn't my myself needn needn't no nor not now o of off on once
    only or other our ours ourselves out over own re s same shan shan't she she's should should've shouldn
    shouldn't so some such t than that that'll the their theirs them themselves then there these they this
    those through to too under until up ve very was wasn wasn't we were weren weren't what when where
    which while who whom why will with won won't wouldn wouldn't y you you'd you'll you're you've your
    yours yourself yourselves
    'd 'll 'm 're 's 've n't
    """.split()  # noqa: SIM905 (a list would be one line each)
)
STOP_CHARACTERS = set(
    "的了和是在也就都而及与着或一个没有我们你他她它这那于被把以为对从到又很还但并不之其等将"
)
# fmt: on
CONTENT_WORD = re.compile(
    r"[^\W_](?:[\w'’.,-]*[^\W_])?"
)  # "1.5", "u.s", "year-on-year" are one word


def degrees(sentences, language="en"):
    """Returns the degree centrality of each sentence of a document, float64 (sentences,).

        degree_i = sum_{j != i} cos(c_i, c_j)      c_i: counts of the words of sentence i, without stop words

    As Erkan & Radev 2004, without their idf.

    Args:
        sentences: list of str.
        language: of the sentences.
    """
    number, ids, rows = {}, [], []
    for row, sentence in enumerate(sentences):
        for word in content_words(sentence, language):
            ids.append(number.setdefault(word, len(number)))
            rows.append(row)
    counts = np.zeros((len(sentences), len(number)))
    np.add.at(counts, (rows, ids), 1)
    counts /= np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)
    return counts @ counts.sum(0) - (counts * counts).sum(1)


def content_words(sentence, language="en"):
    """Returns the words of a sentence without stop words; in Chinese, pairs of characters without them."""
    if is_unseparated(language):
        characters = [c if c.isalnum() and c not in STOP_CHARACTERS else " " for c in sentence]
        pairs = ["".join(pair) for pair in itertools.pairwise(characters)]
        return [pair for pair in pairs if " " not in pair]
    return [
        word
        for word in CONTENT_WORD.findall(sentence.lower().replace("’", "'"))
        if word not in STOP_WORDS
    ]


def largest(scores, k):
    """Returns labels that keep the k units of the highest scores; of equal ones, the first."""
    labels = np.zeros(len(scores), int)
    labels[np.argsort(-np.asarray(scores), kind="stable")[:k]] = 1
    return labels.tolist()
