"""How much the words of a sentence occur in the other sentences of its document, in the graph.

With the counts c_i of the words of sentence i, without stop words,

    w_ij = cos(c_i, c_j)     i != j;      w_ii = 0
    degree    y_i = sum_j w_ij                                      (Erkan & Radev 2004, without idf)
    TextRank  x_i = (1 - d) + d sum_j x_j w_ij / y_j    d = 0.85    (Mihalcea & Tarau 2004)

Mihalcea & Tarau divide the number of common words by log |S_i| + log |S_j|. The cosine is a product of a
factor of i and a factor of j, so that sums over j are computed from the words, in time and memory that grow
with their number and not with the square of the number of sentences.
"""

import tensorflow as tf

from shared.text.languages import is_unseparated

from .overlap import STOP_CHARACTERS, STOP_WORDS

DAMPING = 0.85
ITERATIONS = 40
NUM_FEATURES = {"none": 0, "degree": 2, "textrank": 4}


def features(words, row, kind, language):
    """Computes the centrality of each sentence in its document.

    Args:
        words: ragged string (sentences, words), in lower case, of all documents.
        row: int32 (sentences,), the document of each sentence, ascending.
        kind: "degree": its value and its rank; "textrank": the same, and those of TextRank; "none".
        language: of the words; in Chinese, pairs of characters are compared.

    Returns:
        float32 (sentences, `NUM_FEATURES`[kind]). Values are divided by their mean in the document. A
        rank r, from 0 for the lowest value to n - 1, is given as the logit of (r + 0.5) / n, which is 0 in
        the middle. Equal values have the same rank.
    """
    count = tf.size(row)
    if kind == "none":
        return tf.zeros([count, 0])
    sentence, word, num_words = _content(words, row, language)
    pair = sentence * num_words + word
    pairs, index = tf.unique(pair, tf.int64)
    sentence, word = pairs // num_words, pairs % num_words
    segment_sum = tf.math.unsorted_segment_sum
    c = segment_sum(tf.ones_like(index, tf.float32), index, tf.size(pairs))
    norm = tf.sqrt(segment_sum(c * c, sentence, count))
    c = tf.math.divide_no_nan(c, tf.gather(norm, sentence))
    has_words = tf.cast(norm > 0, tf.float32)

    def product(x):
        """Returns sum_j w_ij x_j for each sentence i."""
        of_words = segment_sum(c * tf.gather(x, sentence), word, num_words)
        total = segment_sum(c * tf.gather(of_words, word), sentence, count)
        return tf.nn.relu(total - has_words * x)  # rounding must not make it negative

    y = product(tf.ones([count]))
    scores = [y]
    if kind == "textrank":
        step = lambda x: 1 - DAMPING + DAMPING * product(tf.math.divide_no_nan(x, y))  # noqa: E731
        loop = lambda i, x: (i + 1, step(x))  # noqa: E731
        scores.append(tf.while_loop(lambda i, x: i < ITERATIONS, loop, (0, tf.ones([count])))[1])
    columns = []
    for score in scores:
        mean = tf.math.unsorted_segment_mean(score, row, _num_rows(row))
        score = tf.math.divide_no_nan(score, tf.gather(mean, row))
        columns += [score, _ranks(score, row)]
    return tf.stack(columns, 1)


def _content(words, row, language):
    """Returns the content words of each sentence.

    Returns:
        sentence, word: int64 (words,); a word has another number in each document; and how many numbers
        there are.
    """
    sentence = tf.cast(words.value_rowids(), tf.int64)
    flat, chinese = words.flat_values, is_unseparated(language)
    is_content = tf.strings.regex_full_match(flat, r".*[\pL\pN].*")
    stop = "|".join(sorted(STOP_CHARACTERS if chinese else STOP_WORDS))
    is_content &= ~tf.strings.regex_full_match(flat, f"(?:{stop})")
    if chinese:
        following = lambda t, last: tf.concat([t[1:], [last]], 0)[: tf.size(t)]  # noqa: E731
        is_content &= following(is_content, False)
        is_content &= following(sentence, tf.constant(-1, tf.int64)) == sentence
        flat += following(flat, "")
    flat, sentence = tf.boolean_mask(flat, is_content), tf.boolean_mask(sentence, is_content)
    types, number = tf.unique(flat, tf.int64)
    number += tf.gather(tf.cast(row, tf.int64), sentence) * tf.size(types, tf.int64)
    numbers, number = tf.unique(number, tf.int64)
    return sentence, number, tf.maximum(tf.size(numbers, tf.int64), 1)


def _num_rows(row):
    return tf.reduce_max(tf.pad(row + 1, [[1, 0]]))


def _ranks(score, row):
    """Returns the rank of each score in its document, as a logit; see `features`.

    Scores are rounded first, so that those that are equal but for the order of additions have one rank.
    """
    score = tf.cast(tf.round(1e4 * score), tf.float64)
    key = score + tf.cast(row, tf.float64) * (tf.reduce_max(tf.pad(score, [[1, 0]])) + 1)
    ordered = tf.sort(key)
    below = tf.searchsorted(ordered, key)
    middle = tf.cast(below + tf.searchsorted(ordered, key, side="right") - 1, tf.float32) / 2
    size = tf.math.bincount(row)
    first = tf.cast(tf.gather(tf.cumsum(size, exclusive=True), row), tf.float32)
    above = tf.cast(tf.gather(size, row), tf.float32) - (middle - first)
    return tf.math.log((middle - first + 0.5) / (above - 0.5))
