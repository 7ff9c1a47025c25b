"""The peephole LSTM over whole sequences; its equations are in `peephole_cell.py`."""

import inspect
from operator import attrgetter

import keras
import tensorflow as tf

from .peephole_bptt import peephole_lstm
from .peephole_cell import PeepholeLSTMCell


@keras.saving.register_keras_serializable(package="peephole")
class PeepholeLSTM(keras.layers.RNN):
    """A peephole LSTM over whole sequences.

    It gives what `keras.layers.RNN(PeepholeLSTMCell(...))` gives, with the same weights, in either of
    two ways. In training, inside a graph (`fit`, `tf.function`), it is `peephole_bptt.peephole_lstm`,
    whose gradient is written out by hand: faster, but without a second-order gradient. XLA compiles
    it anew for each new shape of x, which takes a moment: pad to few lengths.
    Everything else, all that an export holds included, is a plain loop of the cell's steps: inference,
    eager mode, `unroll`, other activations.

    Args:
        units: size of h and c.
        peephole_initializer, peephole_regularizer, peephole_constraint: see `PeepholeLSTMCell`.
        zero_output_for_mask: the output of a masked step is zero, not that of the step before.
        The others are those of `keras.layers.LSTM`, without `use_cudnn` (cuDNN has no peepholes);
            `recurrent_dropout` drops the same features for all four gates.

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
            The last h', (batch, units); h' of all steps, (batch, time, units), in the order in which
            they were made, or without `return_sequences` the last again; and the last [h, c].
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
        """Whether the gradient written out by hand is the gradient of this layer, and in a graph."""
        return (
            not tf.executing_eagerly()
            and not self.unroll
            and self.activation is keras.activations.tanh
            and self.recurrent_activation is keras.activations.sigmoid
        )

    def _training_loop(self, x, h, c, mask):
        """`_loop` in training, by `peephole_lstm`."""
        cell = self.cell
        if 0 < cell.dropout < 1:
            x *= cell.get_dropout_mask(x[:, 0])[:, tf.newaxis]
        drop = cell.get_recurrent_dropout_mask(h) if 0 < cell.recurrent_dropout < 1 else None
        b = tf.zeros([4 * self.units], x.dtype) if cell.bias is None else cell.bias
        weights = cell.kernel, cell.recurrent_kernel, b, cell.peephole_kernel
        ys, h, c = peephole_lstm(x, h, c, *map(tf.convert_to_tensor, weights), mask, drop)
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
        x = tf.transpose(x, [1, 0, 2])
        # x W of all steps in one product, before the loop. But h U of a small layer keeps one core
        # busy and no more: there the loop makes x W of each step beside it, on another.
        ahead = training or self.unroll or self.units >= 256 or x.shape[1] == 1
        zs = self.cell.input_product(x, training) if ahead else x
        mask = None if mask is None else tf.transpose(mask)[..., tf.newaxis]  # (time, batch, 1)
        zero = tf.zeros_like(h)  # the output before the first real step
        U = tf.convert_to_tensor(self.cell.recurrent_kernel)
        # A row of p for each of the batch: to spread one row over it at every step is slower.
        p = tf.convert_to_tensor(self.cell.peephole_kernel)[:, tf.newaxis] + zero

        def step(z, real, y, h, c):
            z = z if ahead else self.cell.input_product(z)
            h_new, c_new = self.cell.step(z, h, c, U, p, training)
            if real is None:
                return h_new, h_new, c_new
            y = tf.where(real, h_new, zero if self.zero_output_for_mask else y)
            return y, tf.where(real, h_new, h), tf.where(real, c_new, c)

        state = (zero, h, c)
        if self.unroll:
            ys = []
            for t, z_t in enumerate(tf.unstack(zs)):
                state = step(z_t, None if mask is None else mask[t], *state)
                ys.append(state[0])
            return state[0], tf.stack(ys, axis=1) if self.return_sequences else None, *state[1:]

        time = zs.shape[0] or tf.shape(zs)[0]
        # A slice is no copy, but its gradient is as large as zs; `TensorArray` copies all of zs.
        read = tf.TensorArray(zs.dtype, time).unstack(zs).read if training else zs.__getitem__
        ys = []  # of one array, or none
        if self.return_sequences:
            # No steps would leave nothing to stack: hence the zero, which step 0 writes over.
            room = zs.shape[0] or tf.maximum(time, 1)
            ys = [tf.TensorArray(h.dtype, room, element_shape=h.shape).write(0, zero)]

        def body(t, state, ys):
            state = step(read(t), None if mask is None else mask[t], *state)
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
