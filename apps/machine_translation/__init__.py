"""Machine translation: translates a sentence from one language into another.

Shape: a sequence to another sequence, of a different length
Headline preset: multi30k_en_de
"""
