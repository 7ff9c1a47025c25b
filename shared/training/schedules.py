"""Learning rate schedules."""

import sys

import keras

MAX_WARMUP = 0.3  # share of the steps


def warmup_cosine(learning_rate, warmup_steps, total_steps):
    """Returns a schedule with a linear warm-up, then a cosine decay to zero (Loshchilov & Hutter 2017).

    The warm-up takes three tenths of the steps at most; a line on stderr says so if it would be longer.

    Args:
        learning_rate: the highest rate.
        warmup_steps: steps in which the rate rises from zero to `learning_rate`.
        total_steps: steps of the whole training, the warm-up included.

    Returns:
        a `keras.optimizers.schedules.CosineDecay`.
    """
    max_steps = int(MAX_WARMUP * total_steps)
    if warmup_steps > max_steps:
        print(
            f"--warmup-steps {warmup_steps:,} is too long for a training of {total_steps:,} steps: "
            f"{max_steps:,} are used",
            file=sys.stderr,
        )
        warmup_steps = max_steps
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(1, total_steps - warmup_steps),
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
    )
