"""Sampling and beam search inside the graph, for any model that has a step function.

    logits, states = step(ids, states)   # ids: int32 (batch,); logits: float (batch, vocabulary)

`states` is any structure of tensors whose first dimension is the batch. Rows are independent: the result
of a row does not depend on the other rows of the batch.
"""

import numpy as np
import tensorflow as tf


def sample(
    step, logits, states, *, max_tokens, temperature, top_k, top_p, seed, end_id, banned_id=None
):
    """Samples a continuation of each row, token by token.

        p = softmax(logits / temperature), restricted to the `top_k` most probable tokens, then to the
        smallest set of most probable tokens whose probabilities sum to `top_p` (Holtzman et al. 2020)

    Args:
        step: the step function.
        logits: float (batch, vocabulary), of the first token.
        states: the states after which `logits` were computed.
        max_tokens: int32 (batch,), the maximum length of each row; negative values are 0.
        temperature: float32 (batch,); 0 takes the most probable token and ignores `top_k` and `top_p`, and
            so do values below 1e-6 and NaN. With infinity, all tokens have the same probability.
        top_k: int32 (batch,); 0, or a negative value, for all tokens.
        top_p: float32 (batch,); 1 for all tokens; 0, a negative value or NaN for the most probable one.
        seed: int32 (batch,), the seed of each row.
        end_id: the id that ends a row; it is not part of the result.
        banned_id: an id that is never sampled, such as that of out-of-vocabulary tokens; None for none.

    Returns:
        ids: int32 (batch, time), padded with `end_id`.
        lengths: int32 (batch,).
        score: float32 (batch,), the log-probability of the sampled tokens, `end_id` included, under the
            unchanged distribution of the model (temperature 1, all tokens).
    """
    uniform = _uniform(seed, tf.reduce_max(tf.concat([max_tokens, [0]], 0)))

    banned_id = -1 if banned_id is None else banned_id

    def any_active(time, ids, lengths, active, score, logits, states):
        return tf.reduce_any(active)

    def add_token(time, ids, lengths, active, score, logits, states):
        token = _sample_token(logits, uniform[:, time], temperature, top_k, top_p, banned_id)
        log_p = tf.nn.log_softmax(tf.cast(logits, tf.float32))
        score += tf.where(active, tf.gather(log_p, token, batch_dims=1), 0.0)
        active &= token != end_id
        token = tf.where(active, token, end_id)
        lengths += tf.cast(active, tf.int32)
        ids = tf.concat([ids, token[:, tf.newaxis]], axis=1)
        active &= lengths < max_tokens
        logits, states = step(token, states)
        return time + 1, ids, lengths, active, score, logits, states

    zeros = tf.zeros_like(max_tokens)
    initial = (0, zeros[:, tf.newaxis][:, :0], zeros, max_tokens > 0, tf.cast(zeros, tf.float32))
    invariants = tf.nest.map_structure(
        lambda t: t.shape, (*map(tf.convert_to_tensor, initial), logits, states)
    )
    invariants = (invariants[0], tf.TensorShape([None, None]), *invariants[2:])
    _, ids, lengths, _, score, _, _ = tf.while_loop(
        any_active, add_token, (*initial, logits, states), invariants
    )
    return ids, lengths, score


def _sample_token(logits, uniform, temperature, top_k, top_p, banned_id):
    """Samples one token per row, int32 (batch,), by inverting the cumulative distribution."""
    size = tf.shape(logits)[1]
    logits = tf.cast(logits, tf.float32)
    # False for NaN. It must not be negated: TensorFlow rewrites `~(x >= y)` as `x < y`, also false for NaN.
    use_sampling = temperature >= 1e-6
    scaled = logits / tf.where(use_sampling, temperature, 1.0)[:, tf.newaxis]
    # After the division: a high temperature would make the lowest number as probable as any other.
    scaled = tf.where(tf.range(size) == banned_id, scaled.dtype.min, scaled)
    ordered, ids = tf.math.top_k(scaled, size)  # (batch, vocabulary), in descending order
    rank = tf.range(size)[tf.newaxis]
    limit = tf.where(top_k > 0, top_k, size)[:, tf.newaxis]
    p = tf.nn.softmax(tf.where(rank < limit, ordered, ordered.dtype.min))
    # A token is kept if the tokens before it sum to less than top_p; the first is always kept.
    sum_before = tf.cumsum(p, axis=1, exclusive=True)
    p = tf.where((sum_before < top_p[:, tf.newaxis]) | (rank == 0), p, 0.0)
    cumulative = tf.cumsum(p, axis=1)
    threshold = uniform[:, tf.newaxis] * cumulative[:, -1:]
    index = tf.reduce_sum(tf.cast(cumulative <= threshold, tf.int32), axis=1)
    # Rounding can give an index after the last token with p > 0; if the logits are NaN, there is none.
    num_kept = tf.reduce_sum(tf.cast(p > 0, tf.int32), axis=1)
    index = tf.where(use_sampling, tf.maximum(tf.minimum(index, num_kept - 1), 0), 0)
    return tf.gather(ids, index, batch_dims=1)


def _uniform(seed, length):
    """Returns random numbers in [0, 1), float32 (batch, length), from the seed of each row."""
    row = lambda s: tf.random.stateless_uniform([length], tf.stack([s, 0]), alg="philox")  # noqa: E731
    # One row more than needed, because map_fn fails on an empty batch.
    return tf.map_fn(row, tf.concat([seed, [0]], 0), fn_output_signature=tf.float32)[:-1]


def beam_search(
    step, ids, states, *, beam_width, max_tokens, end_id, length_penalty=1.0, banned_id=None
):
    """Searches for the most probable continuations of each row.

        score = log p(y) / ((5 + |y|) / 6) ^ length_penalty       |y|: number of tokens, `end_id` included

    (Wu et al. 2016, equation 14.) The beam contains finished and unfinished hypotheses together, those
    with the best scores. A row is done when all its hypotheses are finished, so the number of steps is
    the number of tokens of the longest hypothesis, `end_id` included.

    Args:
        step: the step function.
        ids: int32 (batch,), the token before the first.
        states: the states before that token.
        beam_width: int, the number of hypotheses per row; 1 is greedy search.
        max_tokens: int32 (batch,), the maximum length of a hypothesis; one that reaches it has no `end_id`.
        end_id: the id that ends a hypothesis; it is not part of the result.
        length_penalty: 0 favours short hypotheses; 1 is close to the mean log-probability per token.
        banned_id: an id that is never taken, such as that of out-of-vocabulary tokens; None for none.

    Returns:
        ids: int32 (batch, beam_width, time), padded with `end_id`, best hypothesis first.
        lengths: int32 (batch, beam_width).
        scores: float32 (batch, beam_width). If fewer than `beam_width` hypotheses exist, the last ones
            have no tokens and a score of -inf.

    Example:

    >>> table = tf.constant([[0.0, 0.0, 0.0], [0.0, 1.0, 3.0], [3.0, 0.0, 0.0]])  # logits after each id
    >>> step = lambda ids, states: (tf.gather(table, ids), states)
    >>> ids, lengths, scores = beam_search(
    ...     step, tf.constant([1]), [], beam_width=2, max_tokens=tf.constant([5]), end_id=0
    ... )
    >>> ids.numpy(), lengths.numpy()
    (array([[[2, 0, 0],
            [1, 2, 0]]], dtype=int32), array([[1, 2]], dtype=int32))
    """
    batch, lowest = tf.shape(ids)[0], -np.inf

    def flatten_beam(t):  # (batch, beam_width, ...) to (batch * beam_width, ...)
        return tf.reshape(t, tf.concat([[batch * beam_width], tf.shape(t)[2:]], 0))

    def any_active(ids, log_p, lengths, active, ended, last, states):
        return tf.reduce_any(active & (log_p > lowest))

    def add_token(ids, log_p, lengths, active, ended, last, states):
        logits, states = step(flatten_beam(last), states)
        size = logits.shape[-1]
        token_log_p = tf.nn.log_softmax(tf.cast(logits, tf.float32))
        if banned_id is not None:
            token_log_p = tf.where(tf.range(size) == banned_id, lowest, token_log_p)
        # 1. Take the best tokens of each hypothesis; a finished one has a single candidate, itself.
        best, tokens = tf.math.top_k(
            tf.reshape(token_log_p, [batch, beam_width, size]), min(beam_width, size)
        )
        unchanged = tf.where(tf.range(min(beam_width, size)) == 0, 0.0, lowest)
        best = tf.where(active[..., tf.newaxis], best, unchanged) + log_p[..., tf.newaxis]
        tokens = tf.where(active[..., tf.newaxis], tokens, end_id)
        # 2. Keep the candidates with the best scores.
        new_lengths = lengths + tf.cast(active, tf.int32)
        scores = best / _penalty(new_lengths, length_penalty)[..., tf.newaxis]
        _, order = tf.math.top_k(tf.reshape(scores, [batch, -1]), beam_width)  # (batch, beam_width)
        parent = order // min(beam_width, size)
        select = lambda t: tf.gather(t, parent, batch_dims=1)  # noqa: E731
        log_p, last = (
            tf.gather(tf.reshape(t, [batch, -1]), order, batch_dims=1) for t in (best, tokens)
        )
        # 3. Reorder everything else by the hypotheses that the kept candidates extend.
        lengths, ids = select(new_lengths), tf.concat([select(ids), last[..., tf.newaxis]], axis=2)
        ended = select(ended) | (select(active) & (last == end_id))
        active = select(active) & ~ended & (lengths < max_tokens[:, tf.newaxis])
        rows = flatten_beam(tf.range(batch)[:, tf.newaxis] * beam_width + parent)
        states = tf.nest.map_structure(lambda s: tf.gather(s, rows), states)
        return ids, log_p, lengths, active, ended, last, states

    first = tf.repeat(ids[:, tf.newaxis], beam_width, axis=1)  # (batch, beam_width)
    states = tf.nest.map_structure(lambda s: tf.repeat(s, beam_width, axis=0), states)
    # All hypotheses of a row are equal at first: only one of them may be extended.
    log_p = tf.where(tf.range(beam_width) == 0, 0.0, lowest) + tf.zeros([batch, 1])
    zeros = tf.zeros_like(first)
    active = zeros < max_tokens[:, tf.newaxis]
    ended = tf.zeros_like(active)
    initial = zeros[..., tf.newaxis][..., :0], log_p, zeros, active, ended, first, states
    invariants = tf.nest.map_structure(lambda t: t.shape, initial)
    invariants = (tf.TensorShape([None, beam_width, None]), *invariants[1:])
    ids, log_p, lengths, _, ended, _, _ = tf.while_loop(any_active, add_token, initial, invariants)
    scores = log_p / _penalty(lengths, length_penalty)
    return ids, tf.where(log_p > lowest, lengths - tf.cast(ended, tf.int32), 0), scores


def _penalty(lengths, power):
    return ((5.0 + tf.cast(lengths, tf.float32)) / 6.0) ** power


def distinct(texts, scores, *values):
    """Merges equal texts of each row; the first one stays, which has the best score.

    Args:
        texts: string (batch, n), the texts of the hypotheses, best first.
        scores: float32 (batch, n), in descending order; -inf or NaN where there is no hypothesis.
        *values: other tensors (batch, n) with one value per hypothesis, such as its length.

    Returns:
        texts: string (batch, n), distinct, in the same order, without gaps; "" in unused places.
        scores: float32 (batch, n); 0 in unused places.
        count: int32 (batch,), the number of texts.
        *values: the values of these hypotheses; 0, or "" of strings, in unused places.

    Example:

    >>> texts, scores, count = distinct(
    ...     tf.constant([["a", "a", "b", ""]]), tf.constant([[-1.0, -2.0, -3.0, -np.inf]])
    ... )
    >>> texts.numpy().tolist(), scores.numpy().tolist(), count.numpy().tolist()
    ([[b'a', b'b', b'', b'']], [[-1.0, -3.0, 0.0, 0.0]], [2])
    """
    n = tf.shape(texts)[1] if texts.shape[1] is None else texts.shape[1]
    place = tf.range(n)
    exists = tf.math.is_finite(scores)
    is_equal = texts[:, :, tf.newaxis] == texts[:, tf.newaxis]  # (batch, n, n)
    is_earlier = place[tf.newaxis] < place[:, tf.newaxis]
    is_repeated = tf.reduce_any(is_equal & is_earlier & exists[:, tf.newaxis], axis=2)
    is_kept = exists & ~is_repeated
    _, order = tf.math.top_k(
        tf.where(is_kept, n - place, 0), n
    )  # of equal values, the first is first
    count = tf.reduce_sum(tf.cast(is_kept, tf.int32), axis=1)
    is_used = place < count[:, tf.newaxis]

    def select(t):
        return tf.where(is_used, tf.gather(t, order, batch_dims=1), tf.zeros([], t.dtype))

    return select(texts), select(scores), count, *map(select, values)
