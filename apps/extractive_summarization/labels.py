"""Labels from logits: a conditional random field, or independent labels; and which units are kept."""

import keras
import tensorflow as tf

from shared.layers.crf import LinearChainCRF, conditional_cross_entropy
from shared.layers.masking import padding_mask

KEEP = 1  # the label of a unit that is kept


@keras.saving.register_keras_serializable(package=__package__)
class LabelDecoder(keras.layers.Layer):
    """The labels of a sequence of units: 1 keeps a unit, 0 drops it.

        independent:  p(y) = prod_t softmax(l_t)[y_t]
        crf:          p(y) as of `LinearChainCRF`

    The logits of the decision have a bias for label 1, which training does not see. It is fitted on valid
    after each epoch (see calibration.py): the highest F1 needs another threshold than 0.5.

    Args:
        kind: "crf" or "independent".

    Weights: `keep_bias`, a scalar, not trained; and those of the CRF.

    Call arguments:
        logits: float (batch, time, 2).
        length: int (batch,), number of units in each row.

    Returns:
        log p(y_t = i | y_{t+1} = j), float32 (batch, time, i, j), for `conditional_cross_entropy`.
        Independent labels have the same for every j.
    """

    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind
        self.supports_masking = True  # the length says what is padding; Keras would warn of a mask
        self.crf = LinearChainCRF(2, name="crf") if kind == "crf" else None

    def build(self, logits_shape, length_shape=None):
        """Creates the weights."""
        self.keep_bias = self.add_weight(
            (),
            initializer="zeros",
            trainable=False,
            dtype="float32",
            autocast=False,
            name="keep_bias",
        )
        if self.crf:
            self.crf.build(logits_shape)

    def call(self, logits, length):
        """Computes the conditional log-probabilities; see the class."""
        if self.crf:
            return self.crf(tf.identity(logits), length)  # without the mask of Keras
        mask = padding_mask(length, logits)[..., tf.newaxis, tf.newaxis]
        log_p = tf.nn.log_softmax(tf.cast(logits, tf.float32))[..., tf.newaxis]
        return tf.where(mask, tf.repeat(log_p, 2, 3), 0.0)

    def compute_mask(self, logits, mask=None):
        """Returns None: what follows knows the padding from the weights."""
        return None

    def compute_output_spec(self, logits, length):
        """Returns the shape of the output, for the functional API."""
        return keras.KerasTensor((*logits.shape[:2], 2, 2), "float32")

    def probability(self, logits, length):
        """Returns the probability that a unit is kept, float32 (batch, time); 0 at padding."""
        if self.crf:
            return self.crf.marginals(logits, length)[..., KEEP]
        probability = tf.nn.softmax(tf.cast(logits, tf.float32))[..., KEEP]
        return tf.where(padding_mask(length, logits), probability, 0.0)

    def keeps(self, logits, length, decision, bias=None):
        """Returns which units are kept, bool (batch, time).

        Args:
            logits, length: see the class.
            decision: "viterbi": those of the most probable labels; "marginals": those whose own probability
                is above 0.5. The same if the labels are independent.
            bias: the bias of label 1, a scalar or (batch, 1); None: `keep_bias`.
        """
        bias = tf.convert_to_tensor(self.keep_bias if bias is None else bias)
        logits = tf.cast(logits, tf.float32) + tf.stack([tf.zeros_like(bias), bias], -1)
        if self.crf and decision == "viterbi":
            return self.crf.decode(logits, length) == KEEP
        return self.probability(logits, length) > 0.5

    def get_config(self):
        """Returns every argument of `__init__`."""
        return {**super().get_config(), "kind": self.kind}


@keras.saving.register_keras_serializable(package=__package__)
class LabelCrossentropy(keras.losses.Loss):
    """-log p(y) of the labels, averaged over the units with a weight; see `conditional_cross_entropy`."""

    def __init__(self, reduction="mean_with_sample_weight", **kwargs):
        super().__init__(reduction=reduction, **kwargs)

    def call(self, labels, log_p):
        """Returns the loss of each unit, float32 (batch, time), in nats."""
        return conditional_cross_entropy(labels, log_p)
