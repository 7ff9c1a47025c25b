"""The peephole LSTM: an LSTM whose gates see the cell state.

    i = sigmoid(x W_i + h U_i + p_i * c  + b_i)
    f = sigmoid(x W_f + h U_f + p_f * c  + b_f)
    c' = f * c + i * tanh(x W_c + h U_c + b_c)
    o = sigmoid(x W_o + h U_o + p_o * c' + b_o)      the output gate sees the new cell state
    h' = o * tanh(c')

x: (batch, input). h, c: (batch, units), the previous output and cell state. p_i, p_f, p_o:
(units,), diagonal: each cell looks only at itself. With p = 0 this is `keras.layers.LSTM`, and the
weights are laid out as there, gates in the order i, f, c, o:

    kernel            W  (input, 4 units)
    recurrent_kernel  U  (units, 4 units)
    bias              b  (4 units,)
    peephole_kernel   p  (3, units): rows p_i, p_f, p_o

Sources: Gers & Schmidhuber 2000, "Recurrent nets that time and count"; in the form of Greff et al.
2017, "LSTM: A Search Space Odyssey".
"""

import inspect
from operator import attrgetter

import keras
import tensorflow as tf

from .peephole_bptt import peephole_lstm


@keras.saving.register_keras_serializable(package="peephole")
class PeepholeLSTMCell(keras.layers.LSTMCell):
    """One step of a peephole LSTM, for `keras.layers.RNN`; the equations are at the file's top.

    Args:
        units: size of h and c.
        peephole_initializer, peephole_regularizer, peephole_constraint: of `peephole_kernel`. It
            begins at zero, so that training begins at the plain LSTM of the same seed, and a
            difference between the two is one that was learned. Nothing is stuck there: the gradient
            of p_i is the sum of dz_i * c, and the other weights already tell the units apart.
            (`tf.keras.experimental.PeepholeLSTMCell` drew it from `kernel_initializer`.)
        The others are those of `keras.layers.LSTMCell`.

    Call arguments:
        inputs: x, (batch, input).
        states: [h, c], each (batch, units).
        training: whether dropout is on.

    Returns:
        h', (batch, units), and [h', c'].

    Raises:
        RuntimeError: Keras runs on another backend than TensorFlow.
        ValueError: `units` is not positive, or a dropout is not between 0 and 1.
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
                f"{type(self).__name__} needs the TensorFlow backend: set KERAS_BACKEND=tensorflow "
                f"in the environment before importing keras. Received: {keras.config.backend()!r}"
            )
        # Keras would clip these in silence.
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
        self.peephole_initializer = keras.initializers.get(peephole_initializer)
        self.peephole_regularizer = keras.regularizers.get(peephole_regularizer)
        self.peephole_constraint = keras.constraints.get(peephole_constraint)
        self.input_spec = keras.InputSpec(ndim=2)

    def build(self, input_shape):
        """Makes the weights for x of (batch, input)."""
        super().build(input_shape)
        self.peephole_kernel = self.add_weight(
            shape=(3, self.units),
            name="peephole_kernel",
            initializer=self.peephole_initializer,
            regularizer=self.peephole_regularizer,
            constraint=self.peephole_constraint,
        )

    def call(self, inputs, states, training=False):
        """One step; see the class."""
        h, c = states
        z = self.input_product(inputs, training)
        h, c = self.step(z, h, c, self.recurrent_kernel, self.peephole_kernel, training)
        return h, [h, c]

    def input_product(self, x, training=False):
        """x W + b, which no state enters: for one step or for all of them at once.

        Args:
            x: (batch, input), or (time, batch, input): one dropout mask serves all steps.
            training: whether `dropout` is on.

        Returns:
            (batch, 4 units) or (time, batch, 4 units).
        """
        drop = training and 0 < self.dropout < 1  # Keras takes a rate of 1 for none
        z = _product(x, self.kernel, self.get_dropout_mask(x) if drop else None)
        return z if self.bias is None else z + self.bias

    def step(self, z, h, c, U, p, training=False):
        """The recurrent product and the gates.

        Args:
            z: x W + b, (batch, 4 units).
            h, c: (batch, units).
            U, p: `recurrent_kernel` and `peephole_kernel`, handed in so that a loop reads them, and
                casts them under a mixed policy, once.
            training: whether `recurrent_dropout` is on.

        Returns:
            h', c', each (batch, units).
        """
        drop = training and 0 < self.recurrent_dropout < 1
        masks = self.get_recurrent_dropout_mask(h) if drop else None
        z_i, z_f, z_c, z_o = tf.split(z + _product(h, U, masks), 4, axis=-1)
        p_i, p_f, p_o = tf.unstack(p)
        i = self.recurrent_activation(z_i + p_i * c)
        f = self.recurrent_activation(z_f + p_f * c)
        c = f * c + i * self.activation(z_c)
        o = self.recurrent_activation(z_o + p_o * c)
        return o * self.activation(c), c

    def get_config(self):
        """Every argument of `__init__`."""
        return {
            **super().get_config(),
            "peephole_initializer": keras.initializers.serialize(self.peephole_initializer),
            "peephole_regularizer": keras.regularizers.serialize(self.peephole_regularizer),
            "peephole_constraint": keras.constraints.serialize(self.peephole_constraint),
        }


def _product(x, kernel, masks):
    """(..., 4 units): x kernel, under no dropout mask, one, or a list of one for each gate."""
    if isinstance(masks, list):
        gates = zip(masks, tf.split(kernel, 4, axis=1), strict=True)
        return tf.concat([keras.ops.matmul(x * mask, part) for mask, part in gates], axis=-1)
    return keras.ops.matmul(x if masks is None else x * masks, kernel)


@keras.saving.register_keras_serializable(package="peephole")
class PeepholeLSTM(keras.layers.RNN):
    """A peephole LSTM over whole sequences; the equations are at the top of the file.

    It gives what `keras.layers.RNN(PeepholeLSTMCell(...))` gives, with the same weights; the input
    product of all steps is one matrix product before the loop.

    Args:
        units: size of h and c.
        peephole_initializer, peephole_regularizer, peephole_constraint: see `PeepholeLSTMCell`.
        zero_output_for_mask: the output of a masked step is zero, not that of the step before.
        The others are those of `keras.layers.LSTM`, without `use_cudnn`: cuDNN has no peepholes.

    Call arguments:
        sequences: x, (batch, time, input). A batch of no rows, or of no steps, is answered too: no
            steps give what steps of padding alone give, h' = 0 and the initial state.
        initial_state: [h, c], each (batch, units); zeros where it is None.
        mask: bool, (batch, time). A step where it is False leaves the state as it is.
        training: whether dropout is on.

    Returns:
        The last h', (batch, units), or with `return_sequences` all of them, (batch, time, units);
        with `return_state`, the last h and c after it.

    Raises:
        RuntimeError: Keras runs on another backend than TensorFlow.
        ValueError: `units` is not positive, a dropout is not between 0 and 1, or `sequences` has
            not three dimensions.
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
        activity_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
        dropout=0.0,
        recurrent_dropout=0.0,
        seed=None,
        return_sequences=False,
        return_state=False,
        go_backwards=False,
        stateful=False,
        unroll=False,
        zero_output_for_mask=False,
        peephole_initializer="zeros",
        peephole_regularizer=None,
        peephole_constraint=None,
        **kwargs,
    ):
        given = locals()
        cell = PeepholeLSTMCell(
            **{name: given[name] for name in CELL_OPTIONS},
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
            name="peephole_lstm_cell",
        )
        super().__init__(
            cell,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            zero_output_for_mask=zero_output_for_mask,
            activity_regularizer=activity_regularizer,
            **kwargs,
        )
        self.input_spec = keras.InputSpec(ndim=3)

    def call(self, sequences, initial_state=None, mask=None, training=False):
        """Reads whole sequences; see the class."""
        if sequences.shape[1] != 0:
            return super().call(sequences, initial_state, mask=mask, training=training)
        # Keras looks at the first step before the loop: let it find one, of padding.
        padding = tf.pad(sequences, [[0, 0], [0, 1], [0, 0]])
        mask = tf.zeros([tf.shape(sequences)[0], 1], tf.bool)
        answer = super().call(padding, initial_state, mask=mask, training=training)
        y, *states = answer if self.return_state else [answer]
        y = y[:, :0] if self.return_sequences else y
        return (y, *states) if self.return_state else y

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """What `keras.layers.RNN.call` calls, with the initial state and the dropout masks made.

        Args:
            sequences: (batch, time, input).
            initial_state: [h, c], each (batch, units).
            mask: bool, (batch, time), or None.
            training: whether dropout is on.

        Returns:
            The last h', (batch, units); h' of all steps, (batch, time, units), or None without
            `return_sequences`, in the order in which they were made; and the last [h, c].
        """
        if isinstance(mask, (list, tuple)):  # from a functional model: one for each input
            mask = mask[0]
        x, mask = sequences, None if mask is None else tf.cast(mask, tf.bool)
        if self.go_backwards:
            x = tf.reverse(x, [1])
            mask = None if mask is None else tf.reverse(mask, [1])
        if training and self._fast:
            y, ys, *states = self._training_loop(x, *initial_state, mask)
        else:
            y, ys, *states = self._loop(x, *initial_state, mask, training)
        return y, y if ys is None else ys, states

    @property
    def _fast(self):
        """Whether the gradient written out by hand is that of this layer, here."""
        return (
            not tf.executing_eagerly()
            and not self.unroll
            and not self.cell.recurrent_dropout  # Keras drops h by another mask for each gate
            and self.activation is keras.activations.tanh
            and self.recurrent_activation is keras.activations.sigmoid
        )

    def _training_loop(self, x, h, c, mask):
        """`_loop` in training, by `peephole_lstm`."""
        cell = self.cell
        if 0 < cell.dropout < 1:
            x *= cell.get_dropout_mask(x[:, 0])[:, tf.newaxis]
        b = tf.zeros([4 * self.units], x.dtype) if cell.bias is None else cell.bias
        weights = cell.kernel, cell.recurrent_kernel, b, cell.peephole_kernel
        ys, h, c = peephole_lstm(x, h, c, *map(tf.convert_to_tensor, weights), mask)
        zero = tf.zeros([], h.dtype)
        if mask is None:
            y = h if x.shape[1] else tf.where(tf.shape(x)[1] > 0, h, zero)
        else:
            if self.zero_output_for_mask:
                shown, last = mask, mask[:, -1:]
            else:  # the initial state is not an output
                shown, last = tf.cumsum(tf.cast(mask, tf.int32), axis=1) > 0, mask
            ys = tf.where(shown[..., tf.newaxis], ys, zero)
            y = tf.where(tf.reduce_any(last, axis=1, keepdims=True), h, zero)
        return y, ys if self.return_sequences else None, h, c

    def _loop(self, x, h, c, mask, training):
        """The steps one after the other, differentiated by TensorFlow.

        Args:
            x: (batch, time, input).
            h, c: (batch, units).
            mask: bool, (batch, time), or None.
            training: whether dropout is on.

        Returns:
            The last h', (batch, units); all of them, (batch, time, units), or None without
            `return_sequences`; the last h and c.
        """
        z = self.cell.input_product(tf.transpose(x, [1, 0, 2]), training)
        mask = None if mask is None else tf.transpose(mask)[..., tf.newaxis]  # (time, batch, 1)
        zero = tf.zeros_like(h)  # the output before the first real step
        U = tf.convert_to_tensor(self.cell.recurrent_kernel)
        p = tf.convert_to_tensor(self.cell.peephole_kernel)

        def step(z, real, y, h, c):
            h_new, c_new = self.cell.step(z, h, c, U, p, training)
            if real is None:
                return h_new, h_new, c_new
            y = tf.where(real, h_new, zero if self.zero_output_for_mask else y)
            return y, tf.where(real, h_new, h), tf.where(real, c_new, c)

        state = (zero, h, c)
        if self.unroll:
            ys = []
            for t, z_t in enumerate(tf.unstack(z)):
                state = step(z_t, None if mask is None else mask[t], *state)
                ys.append(state[0])
            return state[0], tf.stack(ys, axis=1) if self.return_sequences else None, *state[1:]

        time = z.shape[0] or tf.shape(z)[0]
        zs = tf.TensorArray(z.dtype, time).unstack(z)
        masks = None if mask is None else tf.TensorArray(tf.bool, time).unstack(mask)
        ys = []  # of one array, or none
        if self.return_sequences:
            # No steps would leave nothing to stack: hence the zero, which step 0 writes over.
            room = z.shape[0] or tf.maximum(time, 1)
            ys = [tf.TensorArray(z.dtype, room, element_shape=h.shape).write(0, zero)]

        def body(t, state, ys):
            state = step(zs.read(t), None if masks is None else masks.read(t), *state)
            return t + 1, state, [array.write(t, state[0]) for array in ys]

        _, state, ys = tf.while_loop(
            lambda t, *_: t < time, body, (0, state, ys), maximum_iterations=time
        )
        ys = tf.transpose(ys[0].stack()[:time], [1, 0, 2]) if ys else None
        return state[0], ys, *state[1:]

    def get_config(self):
        """Every argument of `__init__`."""
        config = super().get_config()
        del config["cell"]
        cell_config = self.cell.get_config()
        config.update({name: cell_config[name] for name in CELL_OPTIONS})
        config["activity_regularizer"] = keras.regularizers.serialize(self.activity_regularizer)
        return config

    @classmethod
    def from_config(cls, config):
        """The layer of a `get_config`."""
        return cls(**config)


# Every argument of the cell is one of the layer, which shows it as an attribute too.
CELL_OPTIONS = tuple(inspect.signature(PeepholeLSTMCell.__init__).parameters)[1:-1]
for _name in CELL_OPTIONS:
    setattr(PeepholeLSTM, _name, property(attrgetter(f"cell.{_name}")))
