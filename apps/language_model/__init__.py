"""Language model: predicts the next word or character, scores text, continues it."""
