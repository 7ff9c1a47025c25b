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


def buckets(columns, batch_size, multiple=8, seed=None, pool=1000):
    """Batches of examples of about the same length, so that little is padding.

    Of each `pool` batches the examples are sorted by their lengths, the first column's before the
    next's. Every batch has `batch_size` rows; where examples are missing, a row is one of padding.

    Args:
        columns: {name: list of int arrays (time,)}, all of the same number of examples.
        batch_size: rows of a batch.
        multiple: a batch's time is one of this, so that few shapes are to be compiled.
        seed: shuffles the examples, and then the batches, from epoch to epoch; None keeps the order.
        pool: batches that are sorted together.

    Returns:
        a function of the epoch that gives a `tf.data.Dataset` of {name: (ids, lengths)}: int32
        (batch, time), padded with 0, and int32 (batch,), 0 in a row of padding.

    Raises:
        ValueError: there are no examples, or not equally many in all columns.
    """
    counts = {name: len(column) for name, column in columns.items()}
    count = min(counts.values())
    if not count or count < max(counts.values()):
        raise ValueError(f"columns need examples, all equally many. Received: {counts}")
    # One more, which is empty: that of the rows that are missing.
    lengths = {name: np.array([*map(len, column), 0], np.int32) for name, column in columns.items()}
    ragged = {
        name: tf.RaggedTensor.from_row_lengths(
            np.concatenate(column).astype(np.int32), lengths[name]
        )
        for name, column in columns.items()
    }

    def epoch_of(epoch):
        order = np.arange(count)
        rng = None if seed is None else np.random.default_rng([seed, epoch])
        if rng is not None:
            rng.shuffle(order)
        keys = [lengths[name] for name in reversed(lengths)]  # the last is the first to sort by
        size = pool * batch_size
        pools = [order[i : i + size] for i in range(0, count, size)]
        order = np.concatenate([p[np.lexsort([key[p] for key in keys])] for p in pools])
        order = np.pad(order, (0, -count % batch_size), constant_values=count)
        batches = order.reshape(-1, batch_size)
        if rng is not None:
            rng.shuffle(batches)
        times = {name: length[batches].max(axis=1) for name, length in lengths.items()}
        times = {n: np.maximum(1, -(-t // multiple)) * multiple for n, t in times.items()}

        def batch_of(rows, times):
            return {
                name: (
                    tf.ensure_shape(
                        tf.gather(column, rows).to_tensor(shape=[batch_size, times[name]]),
                        [batch_size, None],
                    ),
                    tf.gather(lengths[name], rows),
                )
                for name, column in ragged.items()
            }

        return (
            tf.data.Dataset.from_tensor_slices((batches, times))
            .map(batch_of, num_parallel_calls=1)
            .prefetch(tf.data.AUTOTUNE)
        )

    return epoch_of
