"""Labels from a summary that was written by a person: which units of the text cover it best.

Sentences, greedily (Nallapati et al. 2017, section 3.2). With the n-grams of the chosen sentences S and of
the summary R, as multisets,

    score(S) = F(S, 1) + F(S, 2),     F(S, n) = 2 |S_n & R_n| / (|S_n| + |R_n|)

the sentence that raises the score most is added until none raises it. N-grams do not cross the ends of
sentences.

Words: those of a longest common subsequence of the text and the summary.
"""

import hashlib
import re

import numpy as np
from tqdm import tqdm

from shared.data.hashes import cache_folder
from shared.errors import InputError
from shared.files import write_text

VERSION = 1  # of the labels; part of the name of the cache
SLOW = 2000  # texts above which labels are kept in the cache
CJK = "\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # each of these characters is a word
WORD = re.compile(rf"[^\W_{CJK}]+|[{CJK}]")
WORD_OR_MARK = re.compile(rf"[^\W_{CJK}]+|[{CJK}]|\S")


def words(text):
    """Returns the lower-case words of a text without punctuation; a Chinese character is a word.

    Example:

    >>> words("The U.S. won 3.5%, \u4e0a\u6d77 said")
    ['the', 'u', 's', 'won', '3', '5', '\u4e0a', '\u6d77', 'said']
    """
    return [word for word in WORD.findall(text.lower()) if _is_word(word)]


def _is_word(word):
    return word[0].isalnum()


def sentence_labels(sentences, summary):
    """Returns the labels of sentences, a list of 0 and 1.

    Args:
        sentences: list of str.
        summary: str. A line end separates sentences, as in CNN/Daily Mail.
    """
    reference = [words(line) for line in summary.split("\n")]
    lengths, limits, counts = [], [], []
    documents = [words(sentence) for sentence in sentences]
    for n in (1, 2):
        number, wanted = {}, []
        for tokens in reference:
            for gram in zip(*(tokens[i:] for i in range(n)), strict=False):
                wanted.append(number.setdefault(gram, len(number)))
        # Only the n-grams of the summary are counted one by one.
        count = np.zeros((len(sentences), len(number)), np.int32)
        for row, tokens in enumerate(documents):
            for gram in zip(*(tokens[i:] for i in range(n)), strict=False):
                if gram in number:
                    count[row, number[gram]] += 1
        counts.append(count)
        limits.append(np.bincount(np.array(wanted, np.int64), minlength=len(number)))
        lengths.append(np.array([max(0, len(tokens) - n + 1) for tokens in documents]))
    return _greedy(counts, limits, lengths)


def _greedy(counts, limits, lengths):
    """Returns the labels; one array for each n: (sentences, n-grams), (n-grams,) and (sentences,)."""
    num_sentences = len(lengths[0])
    labels, best = [0] * num_sentences, 0.0
    chosen = [np.zeros_like(limit) for limit in limits]
    sizes = [0, 0]
    while True:
        scores = np.zeros(num_sentences)
        for n in range(2):
            overlap = np.minimum(chosen[n] + counts[n], limits[n]).sum(1)
            total = sizes[n] + lengths[n] + limits[n].sum()
            scores += 2 * overlap / np.maximum(total, 1)
        scores[np.array(labels, bool)] = -1
        candidate = int(np.argmax(scores)) if num_sentences else 0
        # Rounding must not count as an improvement.
        if not num_sentences or scores[candidate] <= best + 1e-9:
            return labels
        best, labels[candidate] = scores[candidate], 1
        for n in range(2):
            chosen[n] = chosen[n] + counts[n][candidate]
            sizes[n] += lengths[n][candidate]


def word_labels(tokens, summary):
    """Returns the labels of tokens, a list of 0 and 1: 1 for those of a longest common subsequence.

        L[i, j] = max(L[i-1, j], L[i, j-1], L[i-1, j-1] + [token i = word j])

    Of several longest subsequences, the one whose matches are as late as possible is used: then "the dog" is
    next to each other in "the man saw the dog".

    Args:
        tokens: list of str, with punctuation marks.
        summary: str, as tokens between spaces or as plain text.

    Example:

    >>> word_labels("the man saw the dog .".split(), "man saw the dog.")
    [0, 1, 1, 1, 1, 1]
    """
    tokens = [token.lower() for token in tokens]
    reference = summary.lower().split()
    if set(reference) - set(tokens):  # plain text: its punctuation marks are separated
        reference = _split_like(reference, set(tokens))
    number = {word: i for i, word in enumerate(dict.fromkeys(tokens + reference))}
    columns = np.array([number[word] for word in reference], np.int32)
    table = np.zeros((len(tokens) + 1, len(reference) + 1), np.int32)
    for i, token in enumerate(tokens):
        match = table[i, :-1] + (columns == number[token])
        # The maximum over all columns before is L[i, j-1] at once.
        table[i + 1, 1:] = np.maximum.accumulate(np.maximum(table[i, 1:], match))
    labels, i, j = [0] * len(tokens), len(tokens), len(reference)
    while i and j:
        if tokens[i - 1] == reference[j - 1]:
            labels[i - 1] = 1
            i, j = i - 1, j - 1
        elif table[i - 1, j] >= table[i, j - 1]:
            i -= 1
        else:
            j -= 1
    return labels


def _split_like(reference, known):
    """Separates punctuation marks and Chinese characters of words that are not tokens."""
    return [
        part
        for word in reference
        for part in ([word] if word in known else WORD_OR_MARK.findall(word))
    ]


def label_all(pairs, count, level):
    """Labels the units of many texts, or reads the labels of an earlier call from the cache.

    Args:
        pairs: iterable of (units, summary): a list of str, and a str.
        count: number of pairs.
        level: "word" or "sentence".

    Returns:
        list of lists of 0 and 1.

    Raises:
        InputError: the cache cannot be written.
    """
    function = word_labels if level == "word" else sentence_labels
    if count < SLOW:
        return [function(*pair) for pair in pairs]
    pairs = list(pairs)
    digest = hashlib.sha256(f"{VERSION} {level}".encode())
    for units, summary in pairs:
        digest.update("\0".join([*units, summary, ""]).encode("utf-8", "surrogatepass"))
    path = cache_folder() / "oracle" / f"{digest.hexdigest()[:32]}.txt"
    if path.exists():
        lines = path.read_text(encoding="ascii").split("\n")
        if [*map(len, lines)] == [len(units) for units, _ in pairs]:
            return [[int(label) for label in line] for line in lines]
    labels = [
        function(*pair) for pair in tqdm(pairs, "labels from summaries", mininterval=1, unit="text")
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, "\n".join("".join(map(str, row)) for row in labels))
    except OSError as error:
        raise InputError(
            f"labels cannot be written to {path.parent} ({error.strerror}): set the environment variable "
            "PEEPHOLE_CACHE to another folder"
        ) from None
    return labels
