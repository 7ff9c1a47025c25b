"""Vocabularies, subwords, n-grams and text clean-up; encoding and decoding inside the graph."""
