"""Keras layers: the peephole LSTM, recurrent stacks, attention, encoder, decoder and tied embedding."""
