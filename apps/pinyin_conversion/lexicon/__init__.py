"""Pinyin syllables, the characters they are read as, and the words of a dictionary."""
