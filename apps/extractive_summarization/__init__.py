"""Extractive summarization: keeps the words, or the sentences, that matter most.

Shape: a sequence to 0/1 labels of the same length
Headline preset: google_compression
"""
