"""Checks of masks, lengths and initial states.

A shape that is known when the layer is called is checked in Python and raises a ValueError. A shape that is
only known when the graph runs is checked by one `Assert` operation, which raises an InvalidArgumentError. XLA
drops assertions: a model that is compiled as a whole (`jit_compile=True`) has only the first kind of check.
"""

import tensorflow as tf


def checked_mask(mask, x):
    """Returns a mask as bool (batch, time).

    Args:
        mask: bool (batch, time) or (batch, time, 1), of any type that casts to bool; one row, (1, time), is
            the mask of all rows. A functional model passes a list, of which the first item is the mask. None
            if no step is masked.
        x: (batch, time, ...), the tensor that is masked.

    Returns:
        bool (batch, time), or None.

    Raises:
        ValueError: the mask has another shape.

    Example:

    >>> checked_mask(tf.constant([[1, 0, 1]]), tf.zeros([2, 3, 8])).numpy().tolist()
    [[True, False, True], [True, False, True]]
    """
    if isinstance(mask, (list, tuple)) and mask and (mask[0] is None or hasattr(mask[0], "shape")):
        mask = mask[0]
    if mask is None:
        return None
    mask = tf.cast(tf.convert_to_tensor(mask), tf.bool)
    received = mask.shape
    if received.rank == 3 and received[2] in (1, None):
        mask = tf.squeeze(mask, 2)
    message = "`mask` must have the shape (batch, time) or (batch, time, 1) of the sequences."
    if mask.shape.rank != 2:
        raise ValueError(f"{message} Received: mask.shape={received}")
    rows, steps = mask.shape
    batch, time = x.shape[:2]
    if not (_may_be_equal(steps, time) and (rows == 1 or _may_be_equal(rows, batch))):
        raise ValueError(f"{message} Received: mask.shape={received}, sequences.shape={x.shape}")
    if None not in (rows, steps, batch, time) and rows == batch:
        return mask
    shape = tf.shape(x)[:2]
    if None in (steps, time) or (rows != 1 and None in (rows, batch)):
        received = tf.shape(mask)
        expected = tf.stack([tf.where(received[0] == 1, 1, shape[0]), shape[1]])
        equal = tf.reduce_all(received == expected)
        with _assertion(equal, f"{message} Received, expected:", received, shape):
            mask = tf.identity(mask)
    mask = tf.broadcast_to(mask, shape)  # under XLA, this fails too
    mask.set_shape([batch, time])
    return mask


def checked_length(length, x):
    """Returns the lengths of padded rows as int32 (batch,).

    Args:
        length: int (batch,), from 0 to time.
        x: (batch, time, ...), the padded tensor.

    Returns:
        int32 (batch,).

    Raises:
        ValueError: `length` is not int (batch,), or, outside a graph, a length is not from 0 to time.
    """
    length = tf.convert_to_tensor(length)
    batch = x.shape[0]
    if not (
        length.dtype.is_integer and length.shape.rank == 1 and _may_be_equal(length.shape[0], batch)
    ):
        raise ValueError(
            "`length` must be int (batch,), one length for each row. Received: "
            f"{length.dtype.name} of shape {length.shape}, for a batch of shape {x.shape}"
        )
    length = tf.cast(length, tf.int32)
    rows, time = tf.unstack(tf.shape(x)[:2])
    valid = tf.reduce_all((length >= 0) & (length <= time))
    message = "`length` must be from 0 to the number of time steps, one for each row."
    if tf.executing_eagerly():
        if not valid:
            raise ValueError(f"{message} Received: {length.numpy().tolist()} for {time} steps")
        return length
    if None in (length.shape[0], batch):
        valid &= tf.size(length) == rows
    with _assertion(valid, f"{message} Received, rows, time steps:", length, rows, time):
        return tf.identity(length)


def checked_states(states, number, units, x=None, name="initial_state"):
    """Returns initial states as a list of tensors.

    Args:
        states: list of `number` tensors (batch, units).
        number: how many states there must be.
        units: their size.
        x: (batch, ...), the input, for the batch size; None to check the units only, in a loop over steps.
        name: the argument that the error message names.

    Returns:
        List of `number` tensors (batch, units).

    Raises:
        ValueError: `states` is something else.
    """
    message = f"`{name}` must be a list of {number} tensors of shape (batch, {units})."
    if not isinstance(states, (list, tuple)):
        raise ValueError(f"{message} Received: {_describe(states)}")
    described = ", ".join(map(_describe, states))
    if len(states) != number:
        raise ValueError(f"{message} Received {len(states)}: {described}")
    states = [tf.convert_to_tensor(state) for state in states]
    shapes = [state.shape for state in states]
    batch = None if x is None else x.shape[0]
    if not all(
        shape.rank == 2 and shape[1] == units and _may_be_equal(shape[0], batch) for shape in shapes
    ):
        for_batch = "" if x is None else f", for a batch of shape {x.shape}"
        raise ValueError(f"{message} Received: {described}{for_batch}")
    if x is None or all(None not in (batch, shape[0]) for shape in shapes):
        return states
    rows = tf.stack([tf.shape(state)[0] for state in states])
    batch = tf.shape(x)[0]
    with _assertion(tf.reduce_all(rows == batch), f"{message} Received, batch:", rows, batch):
        return [tf.identity(state) for state in states]


def checked_rows(x, rows, what):
    """Returns x if it has a given number of rows.

    Args:
        x: tensor (batch, ...).
        rows: int, the only possible batch size.
        what: the sentence of the error message.

    Returns:
        x, with a known batch size.

    Raises:
        ValueError: `x` has another number of rows.
    """
    if not _may_be_equal(x.shape[0], rows):
        raise ValueError(f"{what} Received: a batch of shape {x.shape}")
    if x.shape[0] is not None:
        return x
    received = tf.shape(x)[0]
    with _assertion(received == rows, f"{what} Received:", received):
        x = tf.identity(x)
    x.set_shape([rows, *x.shape[1:]])
    return x


def _may_be_equal(a, b):
    return a is None or b is None or a == b


def _describe(value):
    return f"shape {value.shape}" if hasattr(value, "shape") else repr(value)


def _assertion(condition, *data):
    # Not tf.debugging.Assert, which adds a conditional and a function to the graph.
    return tf.control_dependencies([tf.raw_ops.Assert(condition=condition, data=data, summarize=8)])
