"""Extractive summarization: keeps or drops each word of a sentence, or each sentence of a document.

Shape: a sequence to a label for each element
Headline preset: google_compression
"""
