"""Pinyin to characters: syllables, with or without tones, to Chinese text.

Shape: one sequence to another of the same length
"""
