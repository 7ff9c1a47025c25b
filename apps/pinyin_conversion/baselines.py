"""What can be said without a network: the most frequent characters, and the likeliest by a trigram."""

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from .lattice import beam_search


def by_counts(trigram, readings, counts, sentences, beam=128, batch_size=50):
    """Converts sentences in two ways, {name: texts}.

    One takes the most frequent character of each syllable. The other takes the characters that are
    likeliest together:

        argmax over c_1 ... c_n of sum_t log p(c_t | c_{t-2}, c_{t-1}) + log p(tone_t | c_t)

    by a wide beam, for a trigram knows nothing of what is to come; of syllables without tones the second
    term is zero.

    Args:
        trigram: `Trigram`; readings: `Readings`.
        counts: (readings, tones), how often each reading had which tone in train.
        sentences: lists of codes, int32 (time,).

    Returns:
        {name: list of strings}.
    """
    choices = readings.choices()
    log_tone = np.log((counts + 0.5) / (counts.sum(1, keepdims=True) + 0.5 * counts.shape[1]))
    log_tone[:, 0] = 0.0  # not told
    log_tone = tf.constant(log_tone, tf.float32)
    single = counts.sum(1)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None], tf.int32), tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([None], tf.int32),
        ]
    )  # fmt: skip
    def search(choices, tones, length):
        rows, steps, _ = tf.unstack(tf.shape(choices))

        def expand(time, contexts):
            now = choices[:, time]
            items = tf.tile(tf.maximum(now, 0)[:, tf.newaxis], [1, beam, 1])
            log_p, contexts = trigram([c[..., tf.newaxis] for c in contexts], items)
            told = tf.broadcast_to(tones[:, time, tf.newaxis], tf.shape(now))
            log_p += tf.gather_nd(log_tone, tf.stack([tf.maximum(now, 0), told], -1))[:, tf.newaxis]
            log_p = tf.where((now >= 0)[:, tf.newaxis], log_p, float("-inf"))
            return items, log_p, contexts

        found, _ = beam_search(expand, trigram.begin([rows, beam]), length, steps, beam)
        return found[:, 0]

    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    frequent, likeliest = [""] * len(order), [""] * len(order)
    name = lambda found: "".join(readings.characters[c] for c in found)  # noqa: E731
    for first in tqdm(range(0, len(order), batch_size), desc="baselines", mininterval=1):
        rows = order[first : first + batch_size]
        length = np.array([len(sentences[i]) for i in rows], np.int32)
        codes = np.zeros((len(rows), max(1, length.max())), np.int32)
        for row, i in zip(codes, rows, strict=True):
            row[: len(sentences[i])] = sentences[i]
        possible = choices[codes]
        tones = np.where(codes > 0, (codes - 1) % counts.shape[1], 0)
        weight = single[possible] * np.exp(log_tone.numpy()[possible, tones[..., np.newaxis]])
        best = np.where(possible >= 0, weight, -1).argmax(-1)
        best = np.take_along_axis(possible, best[..., np.newaxis], -1)[..., 0]
        width = (possible >= 0).sum(-1).max()
        together = search(possible[..., :width], tones, length).numpy()
        for i, a, b, n in zip(rows, best, together, length, strict=True):
            frequent[i], likeliest[i] = name(a[:n]), name(b[:n])
    return {
        "most frequent character": frequent,
        "modified Kneser-Ney trigram": likeliest,
    }
