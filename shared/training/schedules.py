"""Learning rate schedules."""

import keras


def warmup_cosine(learning_rate, warmup_steps, total_steps):
    """Returns a schedule with a linear warm-up, then a cosine decay to zero (Loshchilov & Hutter 2017).

    Args:
        learning_rate: the highest rate.
        warmup_steps: steps in which the rate rises from zero to `learning_rate`.
        total_steps: steps of the whole training, the warm-up included.

    Returns:
        a `keras.optimizers.schedules.CosineDecay`.
    """
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(1, total_steps - warmup_steps),
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
    )
