"""Pinyin to characters: syllables, with tones or without, to Chinese text.

Shape: a sequence to another sequence, of the same length
Headline preset: sentences
"""
