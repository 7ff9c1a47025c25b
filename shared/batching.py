"""From encoded examples to batches whose order is a pure function of (seed, epoch).

That is what makes an exact resume simple: a run killed in the middle of an epoch builds the same
epoch again and skips the batches it has seen.
"""

import numpy as np
import tensorflow as tf


def windows(ids, batch_size, window, seed=None):
    """Windows of one long text for truncated back-propagation through time.

    The text is cut into `batch_size` streams of equal length, row b of every batch continues row b
    of the batch before, and `carry` says whether it does: it is 0 in the first window, where the
    state begins at zero. The last tokens are padding of weight 0 where the streams do not fill up.

    Args:
        ids: int array (tokens,); each is predicted from those before it, the first from id 0.
        batch_size: streams read side by side.
        window: tokens between which gradients flow.
        seed: moves the borders of the windows from epoch to epoch; None keeps them in place.

    Returns:
        a function of the epoch that gives a `tf.data.Dataset` of (inputs, targets, weights):
        {"tokens": int32 (batch, time), "carry": float32 (batch,)}, int32 (batch, time),
        float32 (batch, time).

    Raises:
        ValueError: there are fewer tokens than streams.
    """
    if len(ids) < batch_size:
        raise ValueError(f"{len(ids)} tokens are too few for a batch of {batch_size} streams")
    length = -(-len(ids) // batch_size)
    padding = length * batch_size - len(ids)
    targets = np.pad(np.asarray(ids, np.int32), (0, padding))
    weights = np.pad(np.ones(len(ids), np.float32), (0, padding)).reshape(batch_size, length)
    inputs = np.pad(targets, (1, 0))[:-1].reshape(batch_size, length)
    targets = targets.reshape(batch_size, length)
    inputs, targets, weights = map(tf.constant, (inputs, targets, weights))

    def epoch_of(epoch):
        first = window
        if seed is not None and length > window:
            first = int(np.random.default_rng([seed, epoch]).integers(1, window + 1))
        steps = 1 + max(0, -(-(length - first) // window))

        def slice_of(step):
            begin = tf.maximum(first + (step - 1) * window, 0)
            cut = slice(begin, first + step * window)
            carry = tf.fill([batch_size], tf.cast(step > 0, tf.float32))
            example = {"tokens": inputs[:, cut], "carry": carry}, targets[:, cut], weights[:, cut]
            return tf.nest.map_structure(
                lambda t: tf.ensure_shape(t, [batch_size, *t.shape[1:]]), example
            )

        return tf.data.Dataset.range(steps).map(slice_of).prefetch(tf.data.AUTOTUNE)

    return epoch_of
