"""Grammars of sentences and documents whose kept words or sentences are known."""
