"""Decoding over a step function, inside the graph.

A step function is all that decoding knows of a model:

    logits, states = step(ids, states)   # ids: int32 (batch,), logits: (batch, vocabulary)

`states` is any structure of tensors whose first dimension is the batch. Rows never meet: what one row
gets does not depend on the others beside it.
"""

import numpy as np
import tensorflow as tf


def sample(
    step, logits, states, *, max_tokens, temperature, top_k, top_p, seed, end_id, banned_id=None
):
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
        end_id: the id that ends a row; it is not part of the answer.
        banned_id: an id that is not drawn, such as that of unknown words; None allows all.

    Returns:
        ids: int32 (batch, time), padded with `end_id`; lengths: int32 (batch,); and the log-probability
        of what was drawn, float32 (batch,), by the model as it is: at temperature 1, uncut, with the
        end where a row came to it.
    """
    uniform = _uniform(seed, tf.reduce_max(tf.concat([max_tokens, [0]], 0)))

    def allowed(logits):
        if banned_id is None:
            return logits
        return tf.where(tf.range(tf.shape(logits)[1]) == banned_id, logits.dtype.min, logits)

    def going(time, ids, lengths, alive, score, logits, states):
        return tf.reduce_any(alive)

    def body(time, ids, lengths, alive, score, logits, states):
        drawn = _draw(allowed(logits), uniform[:, time], temperature, top_k, top_p)
        log_p = tf.nn.log_softmax(tf.cast(logits, tf.float32))
        score += tf.where(alive, tf.gather(log_p, drawn, batch_dims=1), 0.0)
        alive &= drawn != end_id
        drawn = tf.where(alive, drawn, end_id)
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


def beam_search(
    step, ids, states, *, beam_width, max_tokens, end_id, length_penalty=1.0, banned_id=None
):
    """The likeliest continuations of each row that a beam finds.

        score = log p(y) / ((5 + |y|) / 6) ^ length_penalty       |y|: tokens, the end among them

    (Wu et al. 2016, equation 14.) The beam holds hypotheses that are at their end beside those that are
    not, the best scores of both; a row is done when all of its beam is at its end. So the loop is run
    as often as the longest of the answers has tokens, its end among them.

    Args:
        step: the step function.
        ids: int32 (batch,), the token before the first.
        states: the states before it.
        beam_width: how many hypotheses are kept for a row, an int; 1 is greedy search.
        max_tokens: int32 (batch,), the length at which a hypothesis is cut, then without its end.
        end_id: the id that ends a hypothesis; it is not part of the answer.
        length_penalty: 0 prefers what is short, 1 is nearly the mean over the tokens.
        banned_id: an id that is not taken, such as that of unknown words; None allows all.

    Returns:
        ids: int32 (batch, beam, time), padded with `end_id`, the best first; lengths: int32 (batch, beam);
        and scores, float32 (batch, beam). Where there are fewer hypotheses than `beam_width`, the last have
        no tokens and a score of -inf.
    """
    batch, worst = tf.shape(ids)[0], -np.inf

    def flat(t):  # (batch, beam_width, ...) to (batch * beam_width, ...)
        return tf.reshape(t, tf.concat([[batch * beam_width], tf.shape(t)[2:]], 0))

    def going(ids, log_p, lengths, alive, ended, last, states):
        return tf.reduce_any(alive & (log_p > worst))

    def body(ids, log_p, lengths, alive, ended, last, states):
        logits, states = step(flat(last), states)
        size = logits.shape[-1]
        token_log_p = tf.nn.log_softmax(tf.cast(logits, tf.float32))
        if banned_id is not None:
            token_log_p = tf.where(tf.range(size) == banned_id, worst, token_log_p)
        # Of each hypothesis its best tokens, and of all of them the best; one at its end stays as it is.
        best, tokens = tf.math.top_k(
            tf.reshape(token_log_p, [batch, beam_width, size]), min(beam_width, size)
        )
        stays = tf.where(tf.range(min(beam_width, size)) == 0, 0.0, worst)
        best = tf.where(alive[..., tf.newaxis], best, stays) + log_p[..., tf.newaxis]
        tokens = tf.where(alive[..., tf.newaxis], tokens, end_id)
        longer = lengths + tf.cast(alive, tf.int32)
        scores = best / _penalty(longer, length_penalty)[..., tf.newaxis]
        _, order = tf.math.top_k(tf.reshape(scores, [batch, -1]), beam_width)  # (batch, beam_width)
        parent = order // min(beam_width, size)
        pick = lambda t: tf.gather(t, parent, batch_dims=1)  # noqa: E731
        log_p, last = (
            tf.gather(tf.reshape(t, [batch, -1]), order, batch_dims=1) for t in (best, tokens)
        )
        lengths, ids = pick(longer), tf.concat([pick(ids), last[..., tf.newaxis]], axis=2)
        ended = pick(ended) | (pick(alive) & (last == end_id))
        alive = pick(alive) & ~ended & (lengths < max_tokens[:, tf.newaxis])
        rows = flat(tf.range(batch)[:, tf.newaxis] * beam_width + parent)
        states = tf.nest.map_structure(lambda s: tf.gather(s, rows), states)
        return ids, log_p, lengths, alive, ended, last, states

    first = tf.repeat(ids[:, tf.newaxis], beam_width, axis=1)  # (batch, beam_width)
    states = tf.nest.map_structure(lambda s: tf.repeat(s, beam_width, axis=0), states)
    log_p = tf.where(tf.range(beam_width) == 0, 0.0, worst) + tf.zeros([batch, 1])
    zeros = tf.zeros_like(first)
    alive = zeros < max_tokens[:, tf.newaxis]
    ended = tf.zeros_like(alive)
    start = zeros[..., tf.newaxis][..., :0], log_p, zeros, alive, ended, first, states
    invariants = tf.nest.map_structure(lambda t: t.shape, start)
    invariants = (tf.TensorShape([None, beam_width, None]), *invariants[1:])
    ids, log_p, lengths, _, ended, _, _ = tf.while_loop(going, body, start, invariants)
    scores = log_p / _penalty(lengths, length_penalty)
    return ids, tf.where(log_p > worst, lengths - tf.cast(ended, tf.int32), 0), scores


def _penalty(lengths, power):
    return ((5.0 + tf.cast(lengths, tf.float32)) / 6.0) ** power
