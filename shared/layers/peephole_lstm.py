"""The peephole LSTM over whole sequences; its equations are in `peephole_cell.py`."""

import inspect
from operator import attrgetter

import keras
import tensorflow as tf

from .checks import checked_mask, checked_rows, checked_states
from .peephole_bptt import peephole_lstm
from .peephole_cell import PeepholeLSTMCell


@keras.saving.register_keras_serializable(package="peephole")
class PeepholeLSTM(keras.layers.RNN):
    """A peephole LSTM over whole sequences.

    It computes the same as `keras.layers.RNN(PeepholeLSTMCell(...))`, with the same weights, in one of two
    ways:

    - In training inside a graph (`fit`, `tf.function`), with the default activations and without `unroll`:
      `peephole_bptt.peephole_lstm`. It is faster, but has no second-order gradient. XLA compiles it for each
      new shape of x, which takes a few seconds, so pad to few different lengths.
    - Otherwise, in every export included: a loop of the steps of the cell.

    Differences from `keras.layers.LSTM`, besides the peepholes:

    - There is no `use_cudnn` and no `implementation`: the product of all gates is always computed at once.
    - `recurrent_dropout` draws one mask for all gates, and a dropout rate outside 0 to 1 is an error.
    - The training path has no second-order gradient. Inference has one, and Jacobians work in both.
    - A mask must have the shape (batch, time) or (batch, time, 1), or one row for all rows. Keras also takes
      a mask for each unit, (batch, time, units), and in a graph ignores the surplus steps of a longer mask.
    - The states of `initial_state` must have the rows of x. Keras repeats a single row.
    - An empty batch and a sequence without steps are allowed.

    Args:
        units: size of h and c.
        peephole_initializer, peephole_regularizer, peephole_constraint: see `PeepholeLSTMCell`.
        recurrent_dropout: see `PeepholeLSTMCell`.
        zero_output_for_mask: whether the output of a masked step is zero instead of the previous output.
        **kwargs: other arguments of `keras.layers.Layer`. All remaining arguments are those of
            `keras.layers.LSTM`, except `use_cudnn`: cuDNN has no peepholes.

    Call arguments:
        sequences: x, (batch, time, input). The batch size may be 0, and so may the number of time steps;
            without time steps, h' is 0 and the states are the initial states.
        initial_state: [h, c], each (batch, units); None for zeros.
        mask: bool (batch, time) or (batch, time, 1). The states do not change at steps where it is False.
        training: whether to apply dropout.

    Returns:
        The last h', (batch, units), or with `return_sequences` all h', (batch, time, units);
        with `return_state`, followed by the last h and c.

    Raises:
        RuntimeError: the backend of Keras is not TensorFlow.
        ValueError: `units` is not positive, a dropout rate is not between 0 and 1, or `sequences`, `mask` or
            `initial_state` has another shape. A shape that is only known when the graph runs raises an
            InvalidArgumentError.

    Example:

    >>> layer = PeepholeLSTM(units=16, return_sequences=True, return_state=True)
    >>> y, h, c = layer(keras.random.normal((4, 10, 8)))
    >>> y.shape, h.shape, c.shape
    (TensorShape([4, 10, 16]), TensorShape([4, 16]), TensorShape([4, 16]))
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
        arguments = locals()
        cell = PeepholeLSTMCell(
            **{name: arguments[name] for name in CELL_ARGUMENTS},
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
        mask = checked_mask(mask, sequences)
        if initial_state is not None:
            initial_state = checked_states(initial_state, 2, self.units, sequences)
        if self.stateful and self.states is not None and sequences.shape[0] is None:
            # Keras checks only a known batch size.
            rows = self.states[0].shape[0]
            sequences = checked_rows(sequences, rows, f"This stateful layer reads {rows} rows.")
        if sequences.shape[1] != 0:
            return super().call(sequences, initial_state, mask=mask, training=training)
        # Keras reads the first step before the loop, so it gets one step of padding.
        padding = tf.pad(sequences, [[0, 0], [0, 1], [0, 0]])
        mask = tf.zeros([tf.shape(sequences)[0], 1], tf.bool)
        result = super().call(padding, initial_state, mask=mask, training=training)
        y, *states = result if self.return_state else [result]
        y = y[:, :0] if self.return_sequences else y
        return (y, *states) if self.return_state else y

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """Computes all steps; `keras.layers.RNN.call` calls it after it created the initial state.

        Args:
            sequences: (batch, time, input).
            initial_state: [h, c], each (batch, units).
            mask: bool (batch, time), or None.
            training: whether to apply dropout.

        Returns:
            The last h', (batch, units); h' of all steps, (batch, time, units), in the order of
            computation, or the last h' without `return_sequences`; and the last [h, c].
        """
        x = sequences
        if self.go_backwards:
            x = tf.reverse(x, [1])
            mask = None if mask is None else tf.reverse(mask, [1])
        if training and self._has_fast_gradient:
            y, ys, *states = self._training_loop(x, *initial_state, mask)
        else:
            y, ys, *states = self._loop(x, *initial_state, mask, training)
        return y, y if ys is None else ys, states

    @property
    def _has_fast_gradient(self):
        """Whether `peephole_lstm` can compute this layer in training."""
        return (
            not tf.executing_eagerly()
            and not self.unroll
            and self.activation is keras.activations.tanh
            and self.recurrent_activation is keras.activations.sigmoid
        )

    def _training_loop(self, x, h, c, mask):
        """Computes the same as `_loop` in training, with `peephole_lstm`."""
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
                has_output, last = mask, mask[:, -1:]
            else:  # the output is zero before the first real step, not the initial state
                has_output, last = tf.cumsum(tf.cast(mask, tf.int32), axis=1) > 0, mask
            ys = tf.where(has_output[..., tf.newaxis], ys, zero)
            y = tf.where(tf.reduce_any(last, axis=1, keepdims=True), h, zero)
        return y, ys if self.return_sequences else None, h, c

    def _loop(self, x, h, c, mask, training):
        """Computes the steps in a loop, which TensorFlow differentiates.

        Args:
            x: (batch, time, input).
            h, c: (batch, units).
            mask: bool (batch, time), or None.
            training: whether to apply dropout.

        Returns:
            The last h', (batch, units); all h', (batch, time, units), or None without
            `return_sequences`; the last h and c.
        """
        x = tf.transpose(x, [1, 0, 2])
        # x W + b of all steps is one product before the loop. In a small layer, h U keeps only one core
        # busy, so x W + b of each step is computed in the loop, in parallel on another core.
        precomputed = training or self.unroll or self.units >= 256 or x.shape[1] == 1
        zs = self.cell.input_product(x, training) if precomputed else x
        mask = None if mask is None else tf.transpose(mask)[..., tf.newaxis]  # (time, batch, 1)
        zero = tf.zeros_like(h)  # the output before the first real step
        U = tf.convert_to_tensor(self.cell.recurrent_kernel)
        # p is repeated for each row of the batch here, since broadcasting it in each step is slower.
        p = tf.convert_to_tensor(self.cell.peephole_kernel)[:, tf.newaxis] + zero

        def step(z, mask_t, h, c, y=None):
            z = z if precomputed else self.cell.input_product(z)
            h_new, c_new = self.cell.step(z, h, c, U, p, training)
            if mask_t is None:
                return h_new, c_new
            y = tf.where(mask_t, h_new, zero if self.zero_output_for_mask else y)
            return tf.where(mask_t, h_new, h), tf.where(mask_t, c_new, c), y

        # Only with a mask does the output y differ from h. A loop variable that no step reads would make
        # `GradientTape.batch_jacobian` fail.
        state, output = ((h, c), 0) if mask is None else ((h, c, zero), 2)
        if self.unroll:
            ys = []
            for t, z_t in enumerate(tf.unstack(zs)):
                state = step(z_t, None if mask is None else mask[t], *state)
                ys.append(state[output])
            ys = tf.stack(ys, axis=1) if self.return_sequences else None
            return state[output], ys, *state[:2]

        time = zs.shape[0] or tf.shape(zs)[0]
        # A slice copies nothing, but its gradient has the size of zs; a TensorArray copies zs once.
        read = tf.TensorArray(zs.dtype, time).unstack(zs).read if training else zs.__getitem__
        ys = []  # empty, or one TensorArray
        if self.return_sequences:
            # An empty array cannot be stacked, so it starts with a zero, which step 0 overwrites.
            size = zs.shape[0] or tf.maximum(time, 1)
            ys = [tf.TensorArray(h.dtype, size, element_shape=h.shape).write(0, zero)]

        def body(t, state, ys):
            state = step(read(t), None if mask is None else mask[t], *state)
            return t + 1, state, [array.write(t, state[output]) for array in ys]

        _, state, ys = tf.while_loop(
            lambda t, *_: t < time, body, (0, state, ys), maximum_iterations=time
        )
        ys = tf.transpose(ys[0].stack()[:time], [1, 0, 2]) if ys else None
        y = state[output]
        if mask is None and zs.shape[0] is None:  # without steps, the output is zero
            y = tf.where(time > 0, y, zero)
        return y, ys, *state[:2]

    def get_config(self):
        """Returns every argument of `__init__`."""
        config = super().get_config()
        del config["cell"]
        cell_config = self.cell.get_config()
        config.update({name: cell_config[name] for name in CELL_ARGUMENTS})
        config["activity_regularizer"] = keras.regularizers.serialize(self.activity_regularizer)
        return config

    @classmethod
    def from_config(cls, config):
        """Creates a layer from the result of `get_config`."""
        return cls(**config)


# The arguments of the cell are arguments and attributes of the layer too.
CELL_ARGUMENTS = tuple(inspect.signature(PeepholeLSTMCell.__init__).parameters)[1:-1]
for _name in CELL_ARGUMENTS:
    setattr(PeepholeLSTM, _name, property(attrgetter(f"cell.{_name}")))
