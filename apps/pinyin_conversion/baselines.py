"""Baselines without a network: the most frequent characters, and the best characters of a trigram."""

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from shared.serving.candidate_search import candidate_beam_search


def convert(trigram, readings, counts, sentences, beam_width=128, batch_size=50):
    """Converts sentences by two baselines.

    The first takes the most frequent character of each syllable. The second finds

        argmax over c_1 ... c_n of sum_t log p(c_t | c_{t-2}, c_{t-1}) + log p(tone_t | c_t)

    with a wide beam, because a trigram does not see the following syllables. The second term is 0 for
    syllables without a tone.

    Args:
        trigram: `TrigramTable` of readings.
        readings: `Readings`.
        counts: float (readings, tones), how often each reading has each tone in train.
        sentences: list of int32 arrays (time,), codes.

    Returns:
        {name of the baseline: list of strings}.
    """
    possible_readings = readings.possible()
    log_tone = np.log((counts + 0.5) / (counts.sum(1, keepdims=True) + 0.5 * counts.shape[1]))
    log_tone[:, 0] = 0.0  # no tone given
    log_tone = tf.constant(log_tone, tf.float32)
    total = counts.sum(1)

    def search(possible, tones, length):
        rows, steps, _ = tf.unstack(tf.shape(possible))

        def expand(time, contexts):
            now = possible[:, time]
            items = tf.tile(tf.maximum(now, 0)[:, tf.newaxis], [1, beam_width, 1])
            log_p, contexts = trigram([c[..., tf.newaxis] for c in contexts], items)
            tone = tf.broadcast_to(tones[:, time, tf.newaxis], tf.shape(now))
            log_p += tf.gather_nd(log_tone, tf.stack([tf.maximum(now, 0), tone], -1))[:, tf.newaxis]
            log_p = tf.where((now >= 0)[:, tf.newaxis], log_p, float("-inf"))
            return items, log_p, contexts

        contexts = trigram.initial_context([rows, beam_width])
        paths, _ = candidate_beam_search(expand, contexts, length, steps, beam_width)
        return paths[:, 0]

    specs = [tf.TensorSpec([None] * rank, tf.int32) for rank in (3, 2, 1)]
    search = tf.function(search, input_signature=specs, autograph=False)
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    frequent, trigram_texts = [""] * len(order), [""] * len(order)
    text = lambda row: "".join(readings.characters[c] for c in row)  # noqa: E731
    for first in tqdm(range(0, len(order), batch_size), desc="baselines", mininterval=1):
        rows = order[first : first + batch_size]
        length = np.array([len(sentences[i]) for i in rows], np.int32)
        codes = np.zeros((len(rows), max(1, length.max())), np.int32)
        for row, i in zip(codes, rows, strict=True):
            row[: len(sentences[i])] = sentences[i]
        possible = possible_readings[codes]
        tones = np.where(codes > 0, (codes - 1) % counts.shape[1], 0)
        weight = total[possible] * np.exp(log_tone.numpy()[possible, tones[..., np.newaxis]])
        best = np.where(possible >= 0, weight, -1).argmax(-1)
        best = np.take_along_axis(possible, best[..., np.newaxis], -1)[..., 0]
        width = (possible >= 0).sum(-1).max()
        paths = search(possible[..., :width], tones, length).numpy()
        for i, single, path, n in zip(rows, best, paths, length, strict=True):
            frequent[i], trigram_texts[i] = text(single[:n]), text(path[:n])
    return {
        "most frequent character": frequent,
        "modified Kneser-Ney trigram": trigram_texts,
    }
