"""Pinyin to characters: syllables, with or without tones, to Chinese text.

<<<<<<< HEAD
Shape: one sequence to another of the same length
=======
Shape: a sequence to another sequence, of the same length
Headline preset: sentences
>>>>>>> main
"""
