"""Pinyin to characters: syllables, with tones or without, to Chinese text.

Shape: one sequence to another, of the same length
"""
