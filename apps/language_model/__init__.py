"""Language model: scores a text, continues it, suggests the next word.

Shape: one sequence, each element predicted from those before it
"""
