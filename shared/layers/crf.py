"""A linear-chain conditional random field over the labels of a sequence.

For logits u of n steps, transition scores A, start scores b and end scores e, the score of labels y, and
their probability, are

    s(y) = b_{y_1} + u_{1,y_1} + sum_{t=2..n} (A_{y_{t-1},y_t} + u_{t,y_t}) + e_{y_n}
    p(y) = exp(s(y)) / Z            Z = sum of exp(s(y)) over all y

The forward algorithm computes Z:

    alpha_1(j) = b_j + u_{1,j}
    alpha_t(j) = u_{t,j} + log sum_i exp(alpha_{t-1}(i) + A_{ij})
    log Z      = log sum_j exp(alpha_n(j) + e_j)

Given the label after it, a label does not depend on later ones:

    p(y_t = i | y_{t+1} = j) = softmax_i(alpha_t(i) + A_{ij})           t < n
    p(y_n = i)               = softmax_i(alpha_n(i) + e_i)
    p(y)                     = p(y_n) p(y_{n-1} | y_n) ... p(y_1 | y_2)
    p(y_t = i)               = sum_j p(y_t = i | y_{t+1} = j) p(y_{t+1} = j)

The loss is the sum of -log p(y_t | y_{t+1}), which equals log Z - s(y). Both terms of that difference grow
with n: in 32 bits it would lose digits in a long sequence. For the same reason, a number is subtracted from
each alpha_t so that it does not grow; no conditional probability depends on it.

Source: Lafferty, McCallum & Pereira 2001, "Conditional random fields: probabilistic models for segmenting and
labeling sequence data".
"""

import keras
import tensorflow as tf

from .masking import padding_mask


@keras.saving.register_keras_serializable(package="peephole")
class LinearChainCRF(keras.layers.Layer):
    """A linear-chain conditional random field; the equations are at the top of this file.

    A model that ends in this layer is trained with `conditional_cross_entropy` as its loss. Everything is
    computed in 32 bits, whatever the dtype policy is.

    Args:
        num_labels: number of labels.
        **kwargs: other arguments of `keras.layers.Layer`.

    Weights: `transitions`, A (from, to); `start`, b; `end`, e. They are zero at first: the labels are then
    independent.

    Call arguments:
        logits: float (batch, time, num_labels), finite.
        length: int (batch,), number of real steps in each row, from 0 to time; None if no step is padding.

    Returns:
        log p(y_t = i | y_{t+1} = j), float32 (batch, time, i, j). At the last step of a row, where no label
        follows, it is log p(y_n = i) for every j; at padding it is 0.

    Raises:
        ValueError: the last dimension of `logits` is not `num_labels`, or `length` is not valid.

    Example:

    >>> crf = LinearChainCRF(2)
    >>> logits = tf.constant([[[0.0, 1.0], [2.0, 0.0], [0.0, 3.0]]])
    >>> crf(logits).shape
    TensorShape([1, 3, 2, 2])
    >>> _ = crf.transitions.assign([[0.0, -9.0], [-9.0, 0.0]])  # the label hardly ever changes
    >>> crf.decode(logits).numpy()
    array([[1, 1, 1]], dtype=int32)
    >>> crf.marginals(logits).numpy().round(2)
    array([[[0.12, 0.88],
            [0.12, 0.88],
            [0.12, 0.88]]], dtype=float32)
    """

    def __init__(self, num_labels, **kwargs):
        super().__init__(**kwargs)
        self.num_labels = num_labels

    def build(self, input_shape=None):
        """Creates the weights."""
        options = {"initializer": "zeros", "dtype": "float32", "autocast": False}
        n = self.num_labels
        self.transitions = self.add_weight(name="transitions", shape=(n, n), **options)
        self.start = self.add_weight(name="start", shape=(n,), **options)
        self.end = self.add_weight(name="end", shape=(n,), **options)

    def call(self, logits, length=None):
        """Computes the conditional log-probabilities; see the class."""
        log_p, mask = self._conditionals(logits, length)
        return tf.where(mask[..., tf.newaxis, tf.newaxis], log_p, 0.0)

    def score(self, logits, labels, length=None):
        """Returns the scores s(y) of labels, which are not normalized.

        Args:
            logits, length: see the class.
            labels: int (batch, time), from 0 to `num_labels` - 1; any value at padding.

        Returns:
            float32 (batch,); 0 for a row of length 0.
        """
        u, mask, is_last = self._read(logits, length)
        y = tf.where(mask, tf.cast(labels, tf.int32), 0)
        b, A, e = tf.gather(self.start, y), self.transitions, tf.gather(self.end, y)
        scores = tf.gather(u, y, batch_dims=2) + tf.where(is_last, e, 0.0)
        pairs = tf.gather_nd(A, tf.stack([y[:, :-1], y[:, 1:]], -1))
        incoming = tf.concat([b[:, :1], pairs], 1)
        return tf.reduce_sum(tf.where(mask, scores + incoming, 0.0), 1)

    def log_likelihood(self, logits, labels, length=None):
        """Returns log p(y) of labels.

        Args:
            logits, labels, length: see `score`.

        Returns:
            float32 (batch,), in nats; 0 for a row of length 0.
        """
        return -tf.reduce_sum(conditional_cross_entropy(labels, self(logits, length)), 1)

    def log_partition(self, logits, length=None):
        """Returns log Z.

        Args:
            logits, length: see the class.

        Returns:
            float32 (batch,); 0 for a row of length 0.
        """
        y = tf.zeros(tf.shape(logits)[:2], tf.int32)  # log Z = s(y) - log p(y) for any y
        return self.score(logits, y, length) - self.log_likelihood(logits, y, length)

    def marginals(self, logits, length=None):
        """Returns the probability of each label at each step, p(y_t = i).

        Args:
            logits, length: see the class.

        Returns:
            float32 (batch, time, num_labels); 0 at padding.
        """
        log_p, mask = self._conditionals(logits, length)

        def step(p, conditional):
            p = tf.linalg.matvec(conditional, p)
            return p, p

        # Any distribution will do after the last step, because p(y_n = i) does not depend on j.
        p = tf.fill([tf.shape(log_p)[0], self.num_labels], 1 / self.num_labels)
        p = _scan(step, p, tf.exp(log_p), reverse=True)
        return tf.where(mask[..., tf.newaxis], p, 0.0)

    def decode(self, logits, length=None):
        """Returns the labels with the highest score, by the Viterbi algorithm.

        It is the forward algorithm with the maximum in place of log sum exp.

        Args:
            logits, length: see the class.

        Returns:
            int32 (batch, time); 0 at padding.
        """
        u, mask, is_last = self._read(logits, length)
        alpha = self._forward(u, lambda x: tf.reduce_max(x, 1))
        best = tf.argmax(self._with_next(alpha, is_last), 2, tf.int32)  # (batch, time, j)

        def step(y, best):
            y = tf.gather(best, y, batch_dims=1)
            return y, y

        # Any label will do after the last step, as in `marginals`.
        y = _scan(step, tf.zeros(tf.shape(best)[:1], tf.int32), best, reverse=True)
        return tf.where(mask, y, 0)

    def get_config(self):
        """Returns every argument of `__init__`."""
        return {**super().get_config(), "num_labels": self.num_labels}

    def _read(self, logits, length):
        """Returns the logits, 0 at padding; the mask of the real steps, and that of the last steps."""
        u = tf.cast(logits, tf.float32)
        if u.shape.rank != 3 or u.shape[2] != self.num_labels:
            raise ValueError(
                f"`logits` must have the shape (batch, time, {self.num_labels}). Received: {u.shape}"
            )
        batch, time = tf.unstack(tf.shape(u)[:2])
        length = tf.fill([batch], time) if length is None else length
        mask = padding_mask(length, u)
        is_last = tf.range(time) == tf.cast(length, tf.int32)[:, tf.newaxis] - 1
        return tf.where(mask[..., tf.newaxis], u, 0.0), mask, is_last

    def _conditionals(self, logits, length):
        """Returns the output of the layer, with other distributions at padding, and the mask."""
        u, mask, is_last = self._read(logits, length)
        alpha = self._forward(u, _log_sum_exp)
        return tf.nn.log_softmax(self._with_next(alpha, is_last), 2), mask

    def _with_next(self, alpha, is_last):
        """Returns alpha_t(i) + A_ij, or alpha_n(i) + e_i at the last step; (batch, time, i, j)."""
        is_last = is_last[..., tf.newaxis, tf.newaxis]
        return alpha[..., tf.newaxis] + tf.where(is_last, self.end[:, tf.newaxis], self.transitions)

    def _forward(self, u, reduce):
        """Returns alpha, (batch, time, labels), less a number that is the same for all labels.

        Args:
            u: the logits.
            reduce: log sum exp over axis 1 of (batch, i, j), or the maximum.
        """
        A = tf.convert_to_tensor(self.transitions)

        def step(incoming, u_t):
            incoming -= tf.stop_gradient(tf.reduce_max(incoming, 1, keepdims=True))
            alpha = incoming + u_t
            return reduce(alpha[..., tf.newaxis] + A), alpha

        b = tf.tile(self.start[tf.newaxis], [tf.shape(u)[0], 1])
        return _scan(step, b, u)


def conditional_cross_entropy(labels, log_p):
    """Returns the loss of each step, -log p(y_t | y_{t+1}); their sum is the loss -log p(y) of a row.

    It is a loss for `compile`: weight 0 at padding is not needed, but keeps padding out of the mean.

    Args:
        labels: int (batch, time), from 0 to the number of labels - 1; any value at padding.
        log_p: float (batch, time, i, j), the output of `LinearChainCRF`.

    Returns:
        float (batch, time), in nats; 0 at padding.

    Example:

    >>> crf = LinearChainCRF(2)
    >>> y, logits = tf.constant([[0, 1, 1]]), tf.constant([[[0.0, 1.0], [2.0, 0.0], [0.0, 3.0]]])
    >>> conditional_cross_entropy(y, crf(logits)).numpy().round(2)
    array([[1.31, 2.13, 0.05]], dtype=float32)
    """
    # Labels at padding may be out of range; the last label of a row has the same loss for every y_{t+1}.
    y = tf.clip_by_value(tf.cast(labels, tf.int32), 0, log_p.shape[3] - 1)
    following = tf.concat([y[:, 1:], tf.zeros_like(y[:, :1])], 1)
    return -tf.gather(tf.gather(log_p, following, axis=3, batch_dims=2), y, batch_dims=2)


def _log_sum_exp(x):
    """Returns log sum exp over axis 1; `tf.reduce_logsumexp` has twice as many operations."""
    maximum = tf.stop_gradient(tf.reduce_max(x, 1, keepdims=True))
    return tf.math.log(tf.reduce_sum(tf.exp(x - maximum), 1)) + maximum[:, 0]


def _scan(step, state, x, reverse=False):
    """Runs `step(state, x[:, t])`, which returns the next state and an output, for all t.

    Args:
        step: a function of the state, (batch, ...), and x[:, t].
        state: the initial state.
        x: (batch, time, ...).
        reverse: whether to begin with the last step.

    Returns:
        the outputs, (batch, time, ...), which have the shape and type of the state.
    """
    time = tf.shape(x)[1]
    x = tf.transpose(x, [1, 0, *range(2, x.shape.rank)])
    xs = tf.TensorArray(x.dtype, time, element_shape=x.shape[1:]).unstack(x)
    outputs = tf.TensorArray(state.dtype, time, element_shape=state.shape)

    def body(k, state, outputs):
        t = time - 1 - k if reverse else k
        state, output = step(state, xs.read(t))
        return k + 1, state, outputs.write(t, output)

    _, _, outputs = tf.while_loop(
        lambda k, *_: k < time, body, (0, state, outputs), maximum_iterations=time
    )
    outputs = outputs.stack()
    return tf.transpose(outputs, [1, 0, *range(2, outputs.shape.rank)])
