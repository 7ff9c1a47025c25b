"""Beam search over sequences that choose one of several candidates at each step, inside the graph."""

import tensorflow as tf


def candidate_beam_search(expand, state, length, steps, beam_width):
    """Finds the sequences with the highest sum of scores; all hypotheses of a row have the same length.

    Unlike `decoding.beam_search`, scores are added as they are and need not be log-probabilities, there is
    no end symbol, and each step has candidates of its own.

    1. Each hypothesis is expanded by every candidate of the step.
    2. The `beam_width` best of all expansions are kept, with the index of their parents.
    3. The parents are followed backwards from the last step.

    Args:
        expand: a function of (time, state) that returns the items, int32 (batch, beam, candidates); their
            scores, float32 (batch, beam, candidates), -inf for padding; and the next state for each
            candidate, a structure of tensors (batch, beam, candidates).
        state: the initial state of each hypothesis, a structure of tensors (batch, beam).
        length: int32 (batch,), number of steps of each row; later steps are padding.
        steps: int32, at least the greatest length.
        beam_width: int, number of hypotheses that are kept.

    Returns:
        items: int32 (batch, beam, steps), the best hypothesis first.
        scores: float32 (batch, beam), the sums of scores; -inf where there are fewer hypotheses, whose
            items are those of padding.

    Example:

    >>> items = tf.constant([[[3, 5]]])
    >>> scores = tf.constant([[[0.5, 1.0]]])
    >>> expand = lambda time, state: (items, scores, state[..., tf.newaxis] + items)
    >>> sequences, totals = candidate_beam_search(
    ...     expand, tf.zeros([1, 1], tf.int32), tf.constant([2]), steps=2, beam_width=1
    ... )
    >>> sequences.numpy().tolist(), totals.numpy().tolist()
    ([[[5, 5]]], [[2.0]])
    """
    batch = tf.shape(length)[0]
    identity = tf.tile(tf.range(beam_width)[tf.newaxis], [batch, 1])
    total = tf.where(identity == 0, 0.0, float("-inf"))  # there is one hypothesis at first
    arrays = [tf.TensorArray(tf.int32, steps, element_shape=[None, beam_width]) for _ in range(2)]

    def step(time, total, state, chosen, parents):
        items, scores, state = expand(time, state)  # 1
        candidates = tf.shape(items)[2]
        flat = lambda t: tf.reshape(t, [batch, beam_width * candidates])  # noqa: E731
        best, place = tf.math.top_k(flat(total[..., tf.newaxis] + scores), beam_width)  # 2
        parent = place // candidates
        select = lambda t: tf.gather(flat(t), place, batch_dims=1)  # noqa: E731
        # The state of a row that has ended is no longer used.
        active = (time < length)[:, tf.newaxis]
        return (
            time + 1,
            tf.where(active, best, total),
            tf.nest.map_structure(select, state),
            chosen.write(time, select(items)),
            parents.write(time, tf.where(active, parent, identity)),
        )

    _, total, _, chosen, parents = tf.while_loop(
        lambda time, *_: time < steps, step, (0, total, state, *arrays)
    )
    chosen, parents = chosen.stack(), parents.stack()  # (steps, batch, beam)

    def back(time, hypothesis, path):  # 3
        path = path.write(time, tf.gather(chosen[time], hypothesis, batch_dims=1))
        return time - 1, tf.gather(parents[time], hypothesis, batch_dims=1), path

    path = tf.TensorArray(tf.int32, steps, element_shape=[None, beam_width])
    _, _, path = tf.while_loop(lambda time, *_: time >= 0, back, (steps - 1, identity, path))
    return tf.transpose(path.stack(), [1, 2, 0]), total
