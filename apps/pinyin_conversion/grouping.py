"""Rows of a batch in two groups of similar length, so that a long row does not pad the short ones."""

import tensorflow as tf

# The cost of a group is (rows + ROW_COST) (steps + STEP_COST), so that few groups are made.
ROW_COST, STEP_COST = 16, 16


def in_two_groups(function, codes, length, *columns):
    """Calls a function on the short rows and on the long rows of a batch.

    The rows are sorted by length and divided where the costs of both groups have the least sum. If one
    group has no greater cost, the function is called once.

    Args:
        function: a `tf.function` of (codes, length, *columns) that returns a tuple of tensors (batch, ...);
            the last axis of the first of them is time.
        codes: int32 (batch, time), padded with 0.
        length: int32 (batch,).
        columns: further arguments, tensors (batch, ...).

    Returns:
        what `function` returns for all rows, in their order.
    """
    order = tf.argsort(length, stable=True)
    lengths = tf.pad(tf.gather(length, order), [[1, 0]])  # of the longest of the first k rows
    rows, short = tf.size(length), tf.range(tf.maximum(tf.size(length), 1))
    cost = lambda k, steps: tf.where(k > 0, (k + ROW_COST) * (steps + STEP_COST), 0)  # noqa: E731
    costs = cost(short, lengths[: tf.size(short)]) + cost(rows - short, lengths[-1])
    short = tf.argmin(costs, output_type=tf.int32)

    def part(indices):
        codes_, length_, *columns_ = (tf.gather(t, indices) for t in (codes, length, *columns))
        steps = tf.maximum(tf.reduce_max(length_), 1)
        return function(codes_[:, :steps], length_, *columns_)

    def two_groups():
        (first, *others), (second, *more) = part(order[:short]), part(order[short:])
        missing = tf.shape(second)[-1] - tf.shape(first)[-1]
        first = tf.pad(first, [[0, 0]] * (first.shape.rank - 1) + [[0, missing]])
        place = tf.math.invert_permutation(order)
        pairs = zip((first, *others), (second, *more), strict=True)
        return tuple(tf.gather(tf.concat(pair, 0), place) for pair in pairs)

    return tf.cond(short > 0, two_groups, lambda: tuple(function(codes, length, *columns)))
