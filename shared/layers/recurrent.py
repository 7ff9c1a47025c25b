"""Stacks of recurrent layers, built from the name of a cell.

A stack has two forms that share their weights:

    y, states = stack(x)                  # x: (batch, time, features), the whole sequence
    y_t, states = stack.step(x_t, states) # x_t: (batch, features), one step of decoding or streaming

Sources: Elman 1990 (`simple_rnn`), Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al.
2000 (`lstm`), Cho et al. 2014 (`gru`), Gers & Schmidhuber 2000 (`peephole_lstm`), Schuster & Paliwal
1997 (bidirectional).
"""

import keras
import tensorflow as tf

from .checks import checked_mask, checked_states
from .peephole_lstm import PeepholeLSTM
from .seeds import derive_seeds

CELLS = {
    "simple_rnn": keras.layers.SimpleRNN,
    "lstm": keras.layers.LSTM,
    "gru": keras.layers.GRU,
    "peephole_lstm": PeepholeLSTM,
}


@keras.saving.register_keras_serializable(package="peephole")
class RecurrentStack(keras.layers.Layer):
    """A stack of recurrent layers of one kind, with dropout between them.

    Args:
        cell: one of `CELLS`.
        units: size of the state. A bidirectional layer returns 2 * units features.
        num_layers: number of layers.
        bidirectional: whether each layer reads its sequence in both directions; the outputs are
            concatenated.
        dropout: fraction of the features dropped between the layers in training, the same features at
            every time step (Gal & Ghahramani 2016).
        recurrent_dropout: fraction of the previous output dropped before the recurrent product in
            training, the same features at every time step.
        seed: seed of the dropout layers.

    Call arguments:
        x: (batch, time, features).
        initial_state: list of (batch, units), in the order of the returned states; None for zeros.
        mask: bool (batch, time). The states do not change at steps where it is False, so padding has no
            effect.
        training: whether to apply dropout, and to allow cuDNN on a GPU.

    Returns:
        Tuple of y, (batch, time, units) or (batch, time, 2 * units), and the list of the last states: for
        each layer, for each direction, the hidden state and, for an LSTM, the cell state, each
        (batch, units).

    Raises:
        ValueError: `cell` is unknown, `units` or `num_layers` is not a positive integer, or `mask` or
            `initial_state` has another shape. A shape that is only known when the graph runs raises an
            InvalidArgumentError.

    Example:

    >>> stack = RecurrentStack("peephole_lstm", units=16, num_layers=2)
    >>> y, states = stack(keras.random.normal((4, 10, 8)))
    >>> y.shape, len(states), states[0].shape
    (TensorShape([4, 10, 16]), 4, TensorShape([4, 16]))
    >>> y, states = stack.step(keras.random.normal((4, 8)), states)
    >>> y.shape
    TensorShape([4, 16])
    """

    def __init__(
        self,
        cell,
        units,
        num_layers=1,
        bidirectional=False,
        dropout=0.0,
        recurrent_dropout=0.0,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if cell not in CELLS:
            raise ValueError(f"`cell` must be one of {', '.join(CELLS)}. Received: {cell!r}")
        for name, value in {"units": units, "num_layers": num_layers}.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a positive integer. Received: {value!r}")
        self.cell = cell
        self.units = units
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.seed = seed
        self.supports_masking = True
        self.states_per_layer = (2 if "lstm" in cell else 1) * (2 if bidirectional else 1)
        recurrent_seeds = derive_seeds(seed, start=1000)
        self.rnns = [self._recurrent_layer(i, next(recurrent_seeds)) for i in range(num_layers)]
        dropout_seeds = derive_seeds(seed)
        self.dropouts = [
            keras.layers.Dropout(
                dropout, (None, 1, None), next(dropout_seeds), dtype=self.dtype_policy
            )
            for _ in range(num_layers - 1)
        ]

    def _recurrent_layer(self, i, seed):
        # Without `dtype`, the sub-layers would take the global policy instead of this layer's.
        rnn = CELLS[self.cell](
            self.units,
            return_sequences=True,
            return_state=True,
            recurrent_dropout=self.recurrent_dropout,
            seed=seed,
            dtype=self.dtype_policy,
            name=f"{self.cell}_{i}",
        )
        if self.bidirectional:
            rnn = keras.layers.Bidirectional(rnn, dtype=self.dtype_policy, name=f"both_{i}")
        return rnn

    def build(self, x_shape):
        """Builds every layer for x of (batch, time, features)."""
        for rnn in self.rnns:
            rnn.build(x_shape)
            x_shape = (*x_shape[:-1], self.units * (2 if self.bidirectional else 1))
        for dropout in self.dropouts:
            dropout.build(x_shape)
        super().build(x_shape)

    def zero_states(self, batch):
        """Returns the states before the first step: a list of zeros (batch, units)."""
        return [
            tf.zeros([batch, self.units], self.compute_dtype)
            for _ in range(self.num_layers * self.states_per_layer)
        ]

    def call(self, x, initial_state=None, mask=None, training=False):
        """Reads whole sequences; see the class."""
        n, mask = self.states_per_layer, checked_mask(mask, x)
        if initial_state is None:
            initial_state = self.zero_states(tf.shape(x)[0])
        else:
            initial_state = checked_states(initial_state, n * self.num_layers, self.units, x)
        states = []
        for i, rnn in enumerate(self.rnns):
            if i:
                x = self.dropouts[i - 1](x, training=training)
            self._override_defaults(rnn, training)
            initial = list(initial_state[n * i : n * (i + 1)])
            x, *last = rnn(x, initial_state=initial, mask=mask, training=training)
            states += last
        return x, states

    def _override_defaults(self, rnn, training):
        """Overrides Keras defaults that would break serving.

        - cuDNN: Keras chooses it when the graph is traced. A model exported on a machine with a GPU would
          contain CudnnRNN ops, which a CPU cannot run.
        - Recurrent dropout: in inference, Keras creates the dropout masks without using them, and the
          exported graph would contain the state of their seed generators.
        """
        for layer in getattr(rnn, "forward_layer", None), getattr(rnn, "backward_layer", None), rnn:
            if hasattr(layer, "use_cudnn"):
                layer.use_cudnn = "auto" if training else False
            if hasattr(layer, "cell"):
                layer.cell.recurrent_dropout = self.recurrent_dropout if training else 0.0

    def step(self, x, states):
        """Computes one time step in inference, for decoding and streaming.

        Args:
            x: (batch, features).
            states: list of (batch, units).

        Returns:
            y, (batch, units), and the new states.

        Raises:
            ValueError: the stack is bidirectional, or `states` has another number of tensors or units.
        """
        if self.bidirectional:
            raise ValueError(
                "`step` requires bidirectional=False: the backward direction starts at the end of the "
                "sequence."
            )
        n = self.states_per_layer
        states = checked_states(states, n * self.num_layers, self.units, name="states")
        new_states = []
        for i, rnn in enumerate(self.rnns):
            x, last = rnn.cell(x, list(states[n * i : n * (i + 1)]), training=False)
            new_states += last if isinstance(last, (list, tuple)) else [last]
        return x, new_states

    def compute_output_shape(self, x_shape):
        """Returns the shapes of y and of each state."""
        batch, time = x_shape[:2]
        state = (batch, self.units)
        y = (batch, time, self.units * (2 if self.bidirectional else 1))
        return y, [state] * (self.num_layers * self.states_per_layer)

    def compute_mask(self, x, mask=None):
        """Returns the mask of y, which is that of x; the states have no mask."""
        return mask, [None] * (self.num_layers * self.states_per_layer)

    def get_config(self):
        """Returns every argument of `__init__`."""
        return {
            **super().get_config(),
            "cell": self.cell,
            "units": self.units,
            "num_layers": self.num_layers,
            "bidirectional": self.bidirectional,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "seed": self.seed,
        }
