"""Pinyin to characters: syllables, with or without tones, to Chinese text.

Shape: a sequence to another sequence, of the same length
Headline preset: sentences
"""
