"""Keras layers: the peephole LSTM and stacks of recurrent cells."""
