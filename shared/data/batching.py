"""Batches of encoded examples, in an order that is a pure function of (seed, epoch).

Therefore an exact resume is simple: a run that was killed in the middle of an epoch builds the same
epoch again and skips the batches that it has seen.
"""

import sys

import numpy as np
import tensorflow as tf

from shared.errors import InputError


def windows(ids, batch_size, window, seed=None):
    """Makes windows of one long text for truncated back-propagation through time.

    The text is cut into `batch_size` streams of equal length. Row b of a batch continues row b of the
    batch before it. `carry` is 0 in the first window, where the state is zero, and 1 in all others. If
    the tokens do not fill the streams, the last ones are padding with weight 0.

    Args:
        ids: int array (tokens,); each token is predicted from those before it, the first from id 0.
        batch_size: number of streams, the rows of a batch.
        window: time steps of a batch, over which gradients are propagated.
        seed: shifts the window borders differently for each epoch; None keeps them in place.

    Returns:
        a function of the epoch that returns a `tf.data.Dataset` of (inputs, targets, weights):
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

        @tf.autograph.experimental.do_not_convert
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
    """Makes batches of examples of similar length, so that there is little padding.

    The examples are cut into groups of `pool` batches. Each group is sorted by the lengths in the first
    column, then by those in the next. Every batch has `batch_size` rows; missing rows consist of padding
    only.

    Args:
        columns: {name: column}, all with the same number of examples. A column is a list of int arrays
            (time,), a `tf.RaggedTensor` of ids (examples, time), or a `FeatureCache`.
        batch_size: rows of a batch.
        multiple: the time dimension is padded to a multiple of this, so that there are few shapes to
            compile.
        seed: shuffles the examples and the batches, differently for each epoch; None keeps the order.
        pool: number of batches that are sorted together.

    Returns:
        a function of the epoch that returns a `tf.data.Dataset` of {name: (values, lengths)}: values
        are int32 ids (batch, time) or features (batch, time, ...), padded with 0; lengths are int32
        (batch,), 0 for a row of padding.

    Raises:
        ValueError: there are no examples, or the columns differ in their number of examples.
    """
    lengths = {name: row_lengths(column) for name, column in columns.items()}
    counts = {name: len(column) for name, column in lengths.items()}
    count = min(counts.values())
    if not count or count < max(counts.values()):
        raise ValueError(
            f"columns need the same number of examples, at least 1. Received: {counts}"
        )
    # One more example, without time steps: it fills the missing rows of a batch.
    lengths = {name: np.append(column, np.int32(0)) for name, column in lengths.items()}
    gather = {name: _gather(column, lengths[name]) for name, column in columns.items()}

    def epoch_of(epoch):
        order = np.arange(count)
        rng = None if seed is None else np.random.default_rng([seed, epoch])
        if rng is not None:
            rng.shuffle(order)
        keys = [lengths[name] for name in reversed(lengths)]  # lexsort sorts by the last key first
        size = pool * batch_size
        pools = [order[i : i + size] for i in range(0, count, size)]
        order = np.concatenate([p[np.lexsort([key[p] for key in keys])] for p in pools])
        order = np.pad(order, (0, -count % batch_size), constant_values=count)
        batches = order.reshape(-1, batch_size)
        if rng is not None:
            rng.shuffle(batches)
        times = {name: length[batches].max(axis=1) for name, length in lengths.items()}
        times = {n: np.maximum(1, -(-t // multiple)) * multiple for n, t in times.items()}

        @tf.autograph.experimental.do_not_convert
        def batch_of(rows, times):
            return {
                name: (gather[name](rows, times[name]), tf.gather(lengths[name], rows))
                for name in columns
            }

        return (
            tf.data.Dataset.from_tensor_slices((batches, times))
            .map(batch_of, num_parallel_calls=1)
            .prefetch(tf.data.AUTOTUNE)
        )

    return epoch_of


def _gather(column, lengths):
    """Returns a function of rows (batch,) and a time that returns their padded values."""
    if hasattr(column, "batch"):

        def features(rows, time):
            values = tf.numpy_function(column.batch, [rows, time], column.dtype, stateful=False)
            return tf.ensure_shape(values, [rows.shape[0], None, *column.shape])

        return features
    values = column.flat_values if isinstance(column, tf.RaggedTensor) else np.concatenate(column)
    ragged = tf.RaggedTensor.from_row_lengths(tf.cast(values, tf.int32), lengths)

    def ids(rows, time):
        padded = tf.gather(ragged, rows).to_tensor(shape=[rows.shape[0], time])
        return tf.ensure_shape(padded, [rows.shape[0], None])

    return ids


def row_lengths(column):
    """Returns the number of time steps of each example of a column, int32 (examples,)."""
    if isinstance(column, tf.RaggedTensor):
        return column.row_lengths().numpy().astype(np.int32)
    if hasattr(column, "lengths"):
        return np.asarray(column.lengths, np.int32)
    return np.array([*map(len, column)], np.int32)


def drop_longer(columns, max_length, name, flag="--max-length", unit="tokens"):
    """Removes the examples with a column longer than `max_length`, and reports how many there are.

    Args:
        columns: {name: column} as for `buckets`.
        max_length: maximum number of time steps.
        name: name of the split, for the report.
        flag: the flag that sets `max_length`, for the report.
        unit: what a time step is, for the report.

    Returns:
        the columns without these examples.

    Raises:
        InputError: more than half of the examples are longer.
    """
    lengths = np.max([row_lengths(column) for column in columns.values()], axis=0)
    kept = np.flatnonzero(lengths <= max_length)
    if len(kept) == len(lengths):
        return columns
    median = int(np.median(lengths))
    report_dropped(
        len(lengths) - len(kept),
        len(lengths),
        name,
        f"are longer than {flag} {max_length} {unit}",
        f"raise {flag}: half of the examples have {median} {unit} or more",
    )
    return {key: _take(column, kept) for key, column in columns.items()}


def report_dropped(dropped, total, name, reason, remedy):
    """Reports examples that training leaves out, in one line on stderr; prints nothing if there are none.

    Args:
        dropped: number of examples that are left out.
        total: number of all examples.
        name: name of the split.
        reason: what is wrong with them, such as "have an empty side".
        remedy: what to do about it, such as "correct the data".

    Raises:
        InputError: more than half of the examples are left out.
    """
    if not dropped:
        return
    counts = f"{name}: {dropped:,} of {total:,} examples {reason}"
    if 2 * dropped > total:
        raise InputError(f"{counts}, more than half: {remedy}")
    print(f"{counts} and are dropped from training", file=sys.stderr)


def _take(column, indices):
    if isinstance(column, tf.RaggedTensor):
        return tf.gather(column, indices)
    return column.take(indices) if hasattr(column, "take") else [column[i] for i in indices]
