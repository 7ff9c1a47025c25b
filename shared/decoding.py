"""Decoding over a step function, inside the graph.

A step function is all that decoding knows of a model:

    logits, states = step(ids, states)   # ids: int32 (batch,), logits: (batch, vocabulary)

`states` is any structure of tensors whose first dimension is the batch. Rows never meet: what one row
gets does not depend on the others beside it.
"""

import tensorflow as tf


def sample(step, logits, states, *, max_tokens, temperature, top_k, top_p, seed, end, never=None):
    """Draws a continuation of each row, token by token.

        p = softmax(logits / temperature), cut to the `top_k` likeliest tokens, then to the
        smallest set of likeliest tokens that holds `top_p` of what is left (Holtzman et al. 2020)

    Args:
        step: the step function.
        logits: float (batch, vocabulary), of the first token.
        states: the states that go with them.
        max_tokens: int32 (batch,), the length at which a row is cut.
        temperature: float32 (batch,); 0 takes the likeliest token, whatever the rest says, and so
            does anything below a millionth and what is not a number.
        top_k: int32 (batch,); 0 for all tokens.
        top_p: float32 (batch,); 1 for all tokens.
        seed: int32 (batch,), of each row's own draws.
        end: the id that ends a row; it is not part of the answer.
        never: an id that is not drawn, such as that of unknown words; None allows all.

    Returns:
        ids: int32 (batch, time), padded with `end`; lengths: int32 (batch,); and the log-probability
        of what was drawn, float32 (batch,), by the model as it is: at temperature 1, uncut, with the
        end where a row came to it.
    """
    uniform = _uniform(seed, tf.reduce_max(tf.concat([max_tokens, [0]], 0)))

    def allowed(logits):
        if never is None:
            return logits
        return tf.where(tf.range(tf.shape(logits)[1]) == never, logits.dtype.min, logits)

    def going(time, ids, lengths, alive, score, logits, states):
        return tf.reduce_any(alive)

    def body(time, ids, lengths, alive, score, logits, states):
        drawn = _draw(allowed(logits), uniform[:, time], temperature, top_k, top_p)
        log_p = tf.nn.log_softmax(tf.cast(logits, tf.float32))
        score += tf.where(alive, tf.gather(log_p, drawn, batch_dims=1), 0.0)
        alive &= drawn != end
        drawn = tf.where(alive, drawn, end)
        lengths += tf.cast(alive, tf.int32)
        ids = tf.concat([ids, drawn[:, tf.newaxis]], axis=1)
        alive &= lengths < max_tokens
        logits, states = step(drawn, states)
        return time + 1, ids, lengths, alive, score, logits, states

    zeros = tf.zeros_like(max_tokens)
    start = (0, zeros[:, tf.newaxis][:, :0], zeros, max_tokens > 0, tf.cast(zeros, tf.float32))
    invariants = tf.nest.map_structure(
        lambda t: t.shape, (*map(tf.convert_to_tensor, start), logits, states)
    )
    invariants = (invariants[0], tf.TensorShape([None, None]), *invariants[2:])
    _, ids, lengths, _, score, _, _ = tf.while_loop(
        going, body, (*start, logits, states), invariants
    )
    return ids, lengths, score


def _draw(logits, uniform, temperature, top_k, top_p):
    """One token for each row, int32 (batch,), by inversion of the cumulative distribution."""
    size = tf.shape(logits)[1]
    logits = tf.cast(logits, tf.float32)
    # Not `temperature < 1e-6`, nor `not`, which TensorFlow makes that of: false where it is no number.
    warm = temperature >= 1e-6
    scaled = logits / tf.where(warm, temperature, 1.0)[:, tf.newaxis]
    ordered, ids = tf.math.top_k(scaled, size)  # (batch, vocabulary), the likeliest first
    rank = tf.range(size)[tf.newaxis]
    limit = tf.where(top_k > 0, top_k, size)[:, tf.newaxis]
    p = tf.nn.softmax(tf.where(rank < limit, ordered, ordered.dtype.min))
    # A token stays while those before it do not yet hold top_p; the likeliest always stays.
    before = tf.cumsum(p, axis=1, exclusive=True)
    p = tf.where((before < top_p[:, tf.newaxis]) | (rank == 0), p, 0.0)
    up_to = tf.cumsum(p, axis=1)
    threshold = uniform[:, tf.newaxis] * up_to[:, -1:]
    place = tf.reduce_sum(tf.cast(up_to <= threshold, tf.int32), axis=1)
    # Rounding may lead past the last token that has any probability; logits that are no numbers have none.
    kept = tf.reduce_sum(tf.cast(p > 0, tf.int32), axis=1)
    place = tf.where(warm, tf.maximum(tf.minimum(place, kept - 1), 0), 0)
    return tf.gather(ids, place, batch_dims=1)


def _uniform(seed, length):
    """Numbers in [0, 1), float32 (batch, length), each row from its own seed, int32 (batch,)."""
    row = lambda s: tf.random.stateless_uniform([length], tf.stack([s, 0]), alg="philox")  # noqa: E731
    # The row more is for the empty batch, over which map_fn has nothing to stack.
    return tf.map_fn(row, tf.concat([seed, [0]], 0), fn_output_signature=tf.float32)[:-1]
