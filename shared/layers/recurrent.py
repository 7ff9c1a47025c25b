"""Stacks of recurrent layers, built from the name of a cell.

Every app has the settings `cell`, `num_layers`, `units` and `bidirectional`; this file turns them into one
Keras layer with two forms that share their weights:

    y, states = stack(x)                  # x: (batch, time, features), the whole sequence
    y_t, states = stack.step(x_t, states) # x_t: (batch, features), one step of decoding or streaming

Sources: Elman 1990 (`simple_rnn`), Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al.
2000 (`lstm`), Cho et al. 2014 (`gru`), Gers & Schmidhuber 2000 (`peephole_lstm`), Schuster & Paliwal
1997 (bidirectional).
"""

import keras
import tensorflow as tf

from .peephole_lstm import PeepholeLSTM

CELLS = {
    "simple_rnn": keras.layers.SimpleRNN,
    "lstm": keras.layers.LSTM,
    "gru": keras.layers.GRU,
    "peephole_lstm": PeepholeLSTM,
}


@keras.saving.register_keras_serializable(package="peephole")
class RecurrentStack(keras.layers.Layer):
    """Layers of one kind of recurrent cell, with dropout between them.

    Args:
        cell: one of `CELLS`.
        units: size of the state; a bidirectional layer gives 2 * units features.
        num_layers: number of layers.
        bidirectional: read each layer's sequence in both directions, outputs concatenated.
        dropout: fraction of the features dropped between the layers, in training; the same ones at
            every step (Gal & Ghahramani 2016).
        recurrent_dropout: fraction of h dropped on its way to the next step, in training; the same
            features at every step.
        seed: of the dropout.

    Call arguments:
        x: (batch, time, features).
        initial_state: list of (batch, units), in the order of `states`; zeros where it is None.
        mask: bool (batch, time). A step where it is False leaves the state as it is, so padding
            changes nothing.
        training: dropout on; and on a GPU, cuDNN where the cell has it.

    Returns:
        y: (batch, time, units) or (batch, time, 2 * units), and the list of the last states:
        for each layer, for each direction, h and, of an LSTM, c, each (batch, units).

    Raises:
        ValueError: an unknown cell, or a number that is not positive.
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
            raise ValueError(f"`cell` is one of {', '.join(CELLS)}. Received: {cell!r}")
        for name, value in {"units": units, "num_layers": num_layers}.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` is a positive integer. Received: {value!r}")
        self.cell = cell
        self.units = units
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.seed = seed
        self.supports_masking = True
        self.states_per_layer = (2 if "lstm" in cell else 1) * (2 if bidirectional else 1)
        self.rnns = [self._layer(i) for i in range(num_layers)]
        self.dropouts = [
            keras.layers.Dropout(dropout, (None, 1, None), None if seed is None else seed + i)
            for i in range(num_layers - 1)
        ]

    def _layer(self, i):
        # The policy goes down by hand: layers made here would otherwise read the global one.
        rnn = CELLS[self.cell](
            self.units,
            return_sequences=True,
            return_state=True,
            recurrent_dropout=self.recurrent_dropout,
            seed=None if self.seed is None else self.seed + 1000 + i,
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
        """The states before the first step: a list of zeros (batch, units)."""
        return [
            tf.zeros([batch, self.units], self.compute_dtype)
            for _ in range(self.num_layers * self.states_per_layer)
        ]

    def call(self, x, initial_state=None, mask=None, training=False):
        """Reads whole sequences; see the class."""
        n = self.states_per_layer
        if initial_state is None:
            initial_state = self.zero_states(tf.shape(x)[0])
        states = []
        for i, rnn in enumerate(self.rnns):
            if i:
                x = self.dropouts[i - 1](x, training=training)
            self._prepare(rnn, training)
            initial = list(initial_state[n * i : n * (i + 1)])
            x, *last = rnn(x, initial_state=initial, mask=mask, training=training)
            states += last
        return x, states

    def _prepare(self, rnn, training):
        """Sets what Keras would choose otherwise than a model that is to be served needs it.

        cuDNN in training only: the choice falls when the graph is traced, on the machine that traces
        it, so a model exported on a machine with a GPU would carry CudnnRNN ops, and no CPU could
        serve it. And no recurrent dropout in inference: Keras would not apply its masks, but draw
        them, and the graph would hold the state of their seeds.
        """
        for layer in getattr(rnn, "forward_layer", None), getattr(rnn, "backward_layer", None), rnn:
            if hasattr(layer, "use_cudnn"):
                layer.use_cudnn = "auto" if training else False
            if hasattr(layer, "cell"):
                layer.cell.recurrent_dropout = self.recurrent_dropout if training else 0.0

    def step(self, x, states):
        """One step, for decoding and streaming: the cells themselves, without a loop over time.

        Args:
            x: (batch, features).
            states: list of (batch, units).

        Returns:
            y: (batch, units), and the new states.

        Raises:
            ValueError: the stack is bidirectional: its second direction begins at the end.
        """
        if self.bidirectional:
            raise ValueError(
                "A bidirectional stack has no single-step form: it needs the end of x."
            )
        n = self.states_per_layer
        new = []
        for i, rnn in enumerate(self.rnns):
            x, last = rnn.cell(x, list(states[n * i : n * (i + 1)]), training=False)
            new += last if isinstance(last, (list, tuple)) else [last]
        return x, new

    def compute_output_shape(self, x_shape):
        """Shapes of y and of each state."""
        batch, time = x_shape[:2]
        state = (batch, self.units)
        y = (batch, time, self.units * (2 if self.bidirectional else 1))
        return y, [state] * (self.num_layers * self.states_per_layer)

    def compute_mask(self, x, mask=None):
        """The mask goes on with y; states have none."""
        return mask, [None] * (self.num_layers * self.states_per_layer)

    def get_config(self):
        """Every argument of `__init__`."""
        names = (
            "cell",
            "units",
            "num_layers",
            "bidirectional",
            "dropout",
            "recurrent_dropout",
            "seed",
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
