"""Losses over the tokens of a sequence."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="peephole")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy with label smoothing (Szegedy et al. 2016).

        loss = -(1 - s) log p_t - s mean_i(log p_i)

    Args:
        smoothing: s, the part of the target's probability that is spread evenly over the vocabulary.
        reduction: see `keras.losses.Loss`; the default is the mean over the tokens with a weight.
    """

    def __init__(self, smoothing, reduction="mean_with_sample_weight", **kwargs):
        super().__init__(reduction=reduction, **kwargs)
        self.smoothing = smoothing

    def call(self, targets, logits):
        """Computes the loss of each token.

        Args:
            targets: int (batch, time).
            logits: float (batch, time, vocabulary).

        Returns:
            float32 (batch, time), in nats.
        """
        logits, targets = tf.cast(logits, tf.float32), tf.cast(targets, tf.int32)
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        if not self.smoothing:
            return entropy
        logit = tf.gather(logits, targets, batch_dims=2)
        return entropy + self.smoothing * (logit - tf.reduce_mean(logits, -1))

    def get_config(self):
        """Returns every argument of `__init__`."""
        return {**super().get_config(), "smoothing": self.smoothing}
