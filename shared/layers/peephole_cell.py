"""One step of the peephole LSTM, the reference for all other implementations.

    i = sigmoid(x W_i + h U_i + p_i * c  + b_i)
    f = sigmoid(x W_f + h U_f + p_f * c  + b_f)
    c' = f * c + i * tanh(x W_c + h U_c + b_c)
    o = sigmoid(x W_o + h U_o + p_o * c' + b_o)      the output gate sees the new cell state
    h' = o * tanh(c')

x: (batch, input). h, c: (batch, units), the previous output and cell state. p_i, p_f, p_o: (units,),
diagonal peepholes: each gate reads only its own cell. With p = 0 this is `keras.layers.LSTM`. The layout of
the weights is that of Keras, with the gates in the order i, f, c, o:

    kernel            W  (input, 4 units)
    recurrent_kernel  U  (units, 4 units)
    bias              b  (4 units,)
    peephole_kernel   p  (3, units): rows p_i, p_f, p_o

Sources: Gers & Schmidhuber 2000, "Recurrent nets that time and count"; in the form of Greff et al.
2017, "LSTM: A Search Space Odyssey".
"""

import keras
import tensorflow as tf

from .checks import checked_states


@keras.saving.register_keras_serializable(package="peephole")
class PeepholeLSTMCell(keras.layers.LSTMCell):
    """One step of a peephole LSTM, for `keras.layers.RNN`; the equations are at the top of this file.

    Args:
        units: size of h and c.
        peephole_initializer, peephole_regularizer, peephole_constraint: initializer, regularizer and
            constraint of `peephole_kernel`. With the default initializer, zeros, training starts from the
            LSTM of the same seed. The peepholes still learn: the gradient of p_i is the sum of dz_i * c,
            which is not zero and differs between units. (`tf.keras.experimental.PeepholeLSTMCell` used
            `kernel_initializer`.)
        recurrent_dropout: fraction of h dropped before the recurrent product in training. Unlike in
            `keras.layers.LSTMCell`, all four gates share one dropout mask (Gal & Ghahramani 2016).
        **kwargs: other arguments of `keras.layers.Layer`. All remaining arguments are those of
            `keras.layers.LSTMCell`.

    Call arguments:
        inputs: x, (batch, input).
        states: [h, c], each (batch, units).
        training: whether to apply dropout.

    Returns:
        h', (batch, units), and [h', c'].

    Raises:
        RuntimeError: the backend of Keras is not TensorFlow.
        ValueError: `units` is not positive, a dropout rate is not between 0 and 1, or `states` is not a list
            of two tensors (batch, units).

    Example:

    >>> cell = PeepholeLSTMCell(units=16)
    >>> h, c = keras.ops.zeros((4, 16)), keras.ops.zeros((4, 16))
    >>> y, (h, c) = cell(keras.random.normal((4, 8)), [h, c])
    >>> y.shape, h.shape, c.shape
    (TensorShape([4, 16]), TensorShape([4, 16]), TensorShape([4, 16]))
    """

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        kernel_initializer="glorot_uniform",
        recurrent_initializer="orthogonal",
        bias_initializer="zeros",
        unit_forget_bias=True,
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
        dropout=0.0,
        recurrent_dropout=0.0,
        seed=None,
        peephole_initializer="zeros",
        peephole_regularizer=None,
        peephole_constraint=None,
        **kwargs,
    ):
        if keras.config.backend() != "tensorflow":
            raise RuntimeError(
                f"{type(self).__name__} requires the TensorFlow backend: set KERAS_BACKEND=tensorflow "
                f"in the environment before importing keras. Received: {keras.config.backend()!r}"
            )
        # Keras would clip invalid rates without an error.
        for name, rate in {"dropout": dropout, "recurrent_dropout": recurrent_dropout}.items():
            if not 0 <= rate <= 1:
                raise ValueError(f"`{name}` must be between 0 and 1. Received: {name}={rate}")
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            unit_forget_bias=unit_forget_bias,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            seed=seed,
            **kwargs,
        )
        # One dropout mask for all four gates, so that h U remains a single product.
        self.implementation = 2
        self.dropout_mask_count = None
        self.peephole_initializer = keras.initializers.get(peephole_initializer)
        self.peephole_regularizer = keras.regularizers.get(peephole_regularizer)
        self.peephole_constraint = keras.constraints.get(peephole_constraint)
        self.input_spec = keras.InputSpec(ndim=2)

    def build(self, input_shape):
        """Creates the weights for x of (batch, input)."""
        super().build(input_shape)
        self.peephole_kernel = self.add_weight(
            shape=(3, self.units),
            name="peephole_kernel",
            initializer=self.peephole_initializer,
            regularizer=self.peephole_regularizer,
            constraint=self.peephole_constraint,
        )

    def call(self, inputs, states, training=False):
        """Computes one step; see the class."""
        h, c = checked_states(states, 2, self.units, name="states")
        z = self.input_product(inputs, training)
        h, c = self.step(z, h, c, self.recurrent_kernel, self.peephole_kernel, training)
        return h, [h, c]

    def input_product(self, x, training=False):
        """Computes x W + b, the part of z that is independent of the state, for one step or all steps.

        Args:
            x: (batch, input), or (time, batch, input); all steps share one dropout mask.
            training: whether to apply `dropout`.

        Returns:
            (batch, 4 units) or (time, batch, 4 units).
        """
        if training and 0 < self.dropout < 1:  # like Keras, which ignores a rate of 1
            x = x * self.get_dropout_mask(x)
        z = keras.ops.matmul(x, self.kernel)
        return z if self.bias is None else z + self.bias

    def step(self, z, h, c, U, p, training=False):
        """Computes the recurrent product and the gates.

        Args:
            z: x W + b, (batch, 4 units).
            h, c: (batch, units).
            U, p: `recurrent_kernel` and `peephole_kernel`. They are arguments so that a loop reads the
                variables, and casts them under a mixed dtype policy, only once.
            training: whether to apply `recurrent_dropout`.

        Returns:
            h', c', each (batch, units).
        """
        if training and 0 < self.recurrent_dropout < 1:
            h = h * self.get_recurrent_dropout_mask(h)
        z_i, z_f, z_c, z_o = tf.split(z + keras.ops.matmul(h, U), 4, axis=-1)
        p_i, p_f, p_o = tf.unstack(p)
        i = self.recurrent_activation(z_i + p_i * c)
        f = self.recurrent_activation(z_f + p_f * c)
        c = f * c + i * self.activation(z_c)
        o = self.recurrent_activation(z_o + p_o * c)
        return o * self.activation(c), c

    def get_config(self):
        """Returns every argument of `__init__`."""
        return {
            **super().get_config(),
            "peephole_initializer": keras.initializers.serialize(self.peephole_initializer),
            "peephole_regularizer": keras.regularizers.serialize(self.peephole_regularizer),
            "peephole_constraint": keras.constraints.serialize(self.peephole_constraint),
        }
