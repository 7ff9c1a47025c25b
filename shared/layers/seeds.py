"""Seeds of a model's layers, derived from one seed."""


def derive_seeds(seed, step=1, start=0):
    """Yields an endless sequence of seeds: `seed + start`, `seed + start + step`, and so on.

    Two dropout layers with the same seed drop the same features, so each layer takes its own seed.

    Args:
        seed: int; None yields None without end, for seeds that Keras chooses.
        step: difference between two seeds.
        start: offset of the first seed.

    Yields:
        int, or None.

    Example:

    >>> seeds = derive_seeds(7, step=1000)
    >>> next(seeds), next(seeds)
    (7, 1007)
    """
    while True:
        yield None if seed is None else seed + start
        start += step
