"""Language model: scores a text, continues it, suggests the next word.

Shape: a sequence in which each element is predicted from those before it
Headline preset: ptb
"""
