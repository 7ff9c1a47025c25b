"""The threshold of the default answer, fitted on the validation split after each epoch."""

import keras
import numpy as np
import tensorflow as tf

from .model import parts

BIASES = np.round(np.arange(-3.0, 3.01, 0.1), 1)  # values of `keep_bias` that are tried
TOLERANCE = 0.02  # difference from the ratio of the reference labels


class KeepBias(keras.callbacks.Callback):
    """Sets `keep_bias` of the model's `LabelDecoder` after each epoch.

    Among the biases with which the mean ratio of kept units is within `TOLERANCE` of that of the labels, it
    is the one with the highest mean F1. If there is none, it is the one with the nearest ratio. F1 alone
    would choose to keep too much. The logs get `val_f1` and, because the smallest value is the best of a
    run, `val_error`, 100 - F1.

    Args:
        valid: the batches of the validation split, a `tf.data.Dataset`.
        decision: as of `LabelDecoder.keeps`.
    """

    def __init__(self, valid, decision):
        super().__init__()
        self.valid, self.decision = valid, decision
        self.counts = None

    def on_epoch_end(self, epoch, logs=None):
        """Fits the bias; see the class."""
        f1, ratio, target = self.measure()
        i = choose(f1, ratio, target)
        self.model.get_layer("decoder").keep_bias.assign(BIASES[i])
        logs["val_f1"] = 100 * float(f1[i])
        logs["val_error"] = 100 - 100 * float(f1[i])

    def measure(self):
        """Returns the mean F1 and the mean ratio for each bias, and the ratio of the labels."""
        if self.counts is None:
            logits, decoder, encoder = parts(self.model)

            @tf.function(reduce_retracing=True, autograph=False)
            def counts(inputs, labels):
                inputs = dict(inputs)
                length = inputs["length"]
                if encoder:
                    inputs["vectors"] = encoder(inputs.pop("words"))
                scores = logits(inputs)
                # All biases at once: a row for each bias of each row.
                many = lambda t: tf.tile(t, [len(BIASES), *[1] * (t.shape.rank - 1)])  # noqa: E731
                bias = tf.repeat(tf.constant(BIASES, tf.float32), tf.size(length))[:, tf.newaxis]
                kept = decoder.keeps(many(scores), many(length), self.decision, bias)
                is_kept = many(labels) > 0
                columns = tf.stack([kept, kept & is_kept, is_kept])
                columns = tf.reduce_sum(tf.cast(columns, tf.int32), -1)
                return tf.reshape(columns, [3, len(BIASES), -1]), length

            self.counts = counts
        rows = [self.counts(inputs, labels) for inputs, labels, _ in self.valid]
        counts = np.concatenate([count.numpy() for count, _ in rows], 2).astype(np.float64)
        length = np.concatenate([length.numpy() for _, length in rows])
        kept, right, gold = counts[:, :, length > 0]  # (biases, rows) each
        length = length[length > 0]
        both = kept + gold
        f1 = np.where(both > 0, 2 * right / np.maximum(both, 1), 1.0).mean(1)
        return f1, (kept / length).mean(1), (gold / length).mean()


def choose(f1, ratio, target):
    """Returns the index of the best bias; see `KeepBias`."""
    distance = np.abs(ratio - target)
    allowed = distance <= TOLERANCE
    if not allowed.any():
        return int(np.argmin(distance))
    return int(np.argmax(np.where(allowed, f1, -1.0)))
