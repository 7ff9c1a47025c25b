"""Keras layers: the peephole LSTM, recurrent stacks, attention, encoder, decoder, tied embedding, CRF."""
