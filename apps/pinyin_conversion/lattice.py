"""The likeliest sequence of as many items as there are steps, by a beam, inside the graph."""

import tensorflow as tf


def beam_search(expand, chosen, length, steps, beam):
    """The likeliest sequences that a beam finds; all of a row have the same length.

    Unlike `decoding.beam_search` it adds scores as they are, which need not be probabilities, there
    is no end to come to, and each step has choices of its own.

    Args:
        expand: a function of (time, chosen) that says how each hypothesis may go on: items, int32
            (batch, beam, choices); their scores, float32 (batch, beam, choices), -inf for what is no
            choice; and the next `chosen` for each choice, of (batch, beam, choices).
        chosen: what is known of each hypothesis, a structure of tensors (batch, beam).
        length: int32 (batch,), of each row; what comes after it is padding.
        steps: int32, at least the greatest length.
        beam: how many hypotheses are kept, an int.

    Returns:
        items, int32 (batch, beam, steps), the best hypothesis first, and the sum of its scores, float32
        (batch, beam), -inf where there are fewer hypotheses.
    """
    batch = tf.shape(length)[0]
    same = tf.tile(tf.range(beam)[tf.newaxis], [batch, 1])
    total = tf.where(same == 0, 0.0, float("-inf"))  # in the beginning there is one
    arrays = [tf.TensorArray(tf.int32, steps, element_shape=[None, beam]) for _ in range(2)]

    def step(time, total, chosen, found, parents):
        items, scores, chosen = expand(time, chosen)
        choices = tf.shape(items)[2]
        flat = lambda t: tf.reshape(t, [batch, beam * choices])  # noqa: E731
        best, place = tf.math.top_k(flat(total[..., tf.newaxis] + scores), beam)
        parent = place // choices
        # Of a row that is at its end, what is known no longer matters.
        of_choice = lambda t: tf.gather(flat(t), place, batch_dims=1)  # noqa: E731
        real = (time < length)[:, tf.newaxis]
        return (
            time + 1,
            tf.where(real, best, total),
            tf.nest.map_structure(of_choice, chosen),
            found.write(time, of_choice(items)),
            parents.write(time, tf.where(real, parent, same)),
        )

    _, total, _, found, parents = tf.while_loop(
        lambda time, *_: time < steps, step, (0, total, chosen, *arrays)
    )
    found, parents = found.stack(), parents.stack()  # (steps, batch, beam)

    def back(time, which, path):
        path = path.write(time, tf.gather(found[time], which, batch_dims=1))
        return time - 1, tf.gather(parents[time], which, batch_dims=1), path

    path = tf.TensorArray(tf.int32, steps, element_shape=[None, beam])
    _, _, path = tf.while_loop(lambda time, *_: time >= 0, back, (steps - 1, same, path))
    return tf.transpose(path.stack(), [1, 2, 0]), total
