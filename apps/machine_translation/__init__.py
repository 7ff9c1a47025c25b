"""Machine translation: a sentence in one language to the same in another.

Shape: one sequence to another, of another length
"""
