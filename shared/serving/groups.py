"""Groups of rows of similar length, so that a long row does not slow down the short ones."""

import tensorflow as tf

# Rows are grouped by length: up to GROUP_LENGTH steps, up to twice as many, and so on. A group has at most
# GROUP_LENGTH * GROUP_LENGTH steps, padding included.
GROUP_LENGTH = 128


def in_groups(function, columns, length, specs, max_length):
    """Applies a function to groups of rows of similar length.

    In one batch, all rows would be padded to the length of the longest one. Each step of a loop over time
    would cost as much for a short row as for the longest one, and there would be as many steps as the
    longest one needs.

    Args:
        function: a function of the padded columns of some rows, each (rows, time, ...), and of their
            lengths, int32 (rows,), that returns a list of tensors (rows, ...). It gets no row of length 0.
        columns: list of tensors or `tf.RaggedTensor`s (batch, time, ...), with at least `length` steps.
        length: int32 (batch,).
        specs: a `tf.TensorSpec` for each result of `function`; the first dimension is None. With a
            `tf.RaggedTensorSpec`, the result, (rows, time), has a value for each step and becomes ragged.
        max_length: int, the greatest possible length.

    Returns:
        list of the results of all rows, padded with 0; 0 for a row of length 0. A size that is None in the
        spec is that of the longest row, at least 1. Ragged results are not padded: one long row and many
        short ones would fill the memory.
    """
    limits = [GROUP_LENGTH]
    while limits[-1] < max_length:
        limits.append(2 * limits[-1])
    is_read = length > 0
    size = tf.searchsorted(limits, length)
    is_of_size = tf.one_hot(tf.where(is_read, size, -1), len(limits), dtype=tf.int32)
    rank = tf.gather(tf.cumsum(is_of_size, exclusive=True), size, batch_dims=1)
    rows_of_group = [max(1, GROUP_LENGTH**2 // limit) for limit in limits]
    group = size + len(limits) * (rank // tf.gather(rows_of_group, size))
    groups, _ = tf.unique(tf.boolean_mask(group, is_read))

    def add_group(i, order, results):
        rows = tf.where(is_read & (group == groups[i]))[:, 0]
        lengths = tf.gather(length, rows)
        time = tf.reduce_max(lengths)
        new = function(*(_padded(column, rows, time) for column in columns), lengths)
        is_step = tf.sequence_mask(lengths, time)
        new = [tf.boolean_mask(t, is_step) if r else t for t, r in zip(new, is_ragged, strict=True)]
        results = [_concat(a, b, shape) for a, b, shape in zip(results, new, shapes, strict=True)]
        return i + 1, tf.concat([order, rows], 0), results

    order = tf.where(length == 0)[:, 0]
    is_ragged = [isinstance(spec, tf.RaggedTensorSpec) for spec in specs]
    shapes = [
        tf.TensorShape([None]) if r else spec.shape
        for spec, r in zip(specs, is_ragged, strict=True)
    ]
    results = [
        # A size of at least 1, because TF Serving's JSON cannot carry the shape of an empty tensor.
        tf.zeros([0 if r else tf.size(order), *(n or 1 for n in shape[1:])], spec.dtype)
        for spec, shape, r in zip(specs, shapes, is_ragged, strict=True)
    ]
    invariants = tf.TensorShape([]), tf.TensorShape([None]), shapes
    _, order, results = tf.while_loop(
        lambda i, *_: i < tf.size(groups), add_group, (0, order, results), invariants
    )
    results = [
        tf.RaggedTensor.from_row_lengths(t, tf.gather(length, order), validate=False) if r else t
        for t, r in zip(results, is_ragged, strict=True)
    ]
    order = tf.math.invert_permutation(order)
    return [tf.gather(result, order) for result in results]


def _padded(column, rows, time):
    """Returns some rows of a column, (rows, time, ...), padded with 0 if it is ragged."""
    part = tf.gather(column, rows)
    if isinstance(part, tf.RaggedTensor):
        part = part.to_tensor()
    return part[:, :time]


def _concat(first, second, shape):
    """Concatenates along the batch; sizes that are None in the static shape are padded with 0."""
    size = tf.maximum(tf.shape(first), tf.shape(second))[1:]

    def pad(t):
        return tf.pad(t, tf.pad(tf.stack([0 * size, size - tf.shape(t)[1:]], 1), [[1, 0], [0, 0]]))

    joined = tf.concat([pad(first), pad(second)], 0)
    joined.set_shape(shape)
    return joined
