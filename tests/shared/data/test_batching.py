"""Windows of a text: each token is in one window, and the order is a function of (seed, epoch)."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.data.batching import windows

rng = np.random.default_rng(7)
# (tokens, batch_size, window, seed, epoch): at random, and edge cases by hand.
SIZES = [
    (int(rng.integers(b, 200)), b, int(rng.integers(1, 40)), seed, int(rng.integers(0, 5)))
    for b, seed in zip(rng.integers(1, 12, 30).tolist(), [None, 0, 1, 99, 12345] * 6, strict=True)
] + [
    (1, 1, 1, None, 0), (1, 1, 1, 3, 0), (5, 5, 4, 3, 0), (5, 4, 1, 3, 1), (12, 3, 4, None, 0),
    (12, 3, 4, 3, 2), (13, 3, 4, 3, 2), (100, 2, 1, 3, 0), (100, 2, 1000, 3, 0), (101, 10, 10, 0, 0),
]  # fmt: skip


def text(tokens):
    """Returns different ids, so that a token that is missing or read twice is noticed."""
    return np.random.default_rng(tokens).permutation(tokens).astype(np.int32) + 1


def batches(dataset):
    return list(dataset.as_numpy_iterator())


def equal(first, second):
    return len(first) == len(second) and all(
        np.array_equal(a, b)
        for x, y in zip(first, second, strict=True)
        for a, b in zip(tf.nest.flatten(x), tf.nest.flatten(y), strict=True)
    )


@pytest.mark.parametrize(("tokens", "batch_size", "window", "seed", "epoch"), SIZES)
def test_every_token_is_predicted_once_from_the_one_before(tokens, batch_size, window, seed, epoch):
    ids = text(tokens)
    dataset = windows(ids, batch_size, window, seed)(epoch)
    examples = batches(dataset)
    assert dataset.cardinality().numpy() == len(examples)

    # Row b of every batch continues row b of the batch before.
    inputs = np.concatenate([x["tokens"] for x, _, _ in examples], axis=1)
    targets = np.concatenate([y for _, y, _ in examples], axis=1)
    weights = np.concatenate([w for _, _, w in examples], axis=1)
    assert inputs.shape == targets.shape == weights.shape
    assert targets.shape == (batch_size, -(-tokens // batch_size))
    # The streams, one after the other, are the text, then padding.
    assert weights.ravel().tolist() == [1.0] * tokens + [0.0] * (weights.size - tokens)
    assert targets.ravel()[:tokens].tolist() == ids.tolist()
    assert inputs.ravel()[:tokens].tolist() == [0, *ids[:-1]]

    sizes = [y.shape[1] for _, y, _ in examples]
    assert min(sizes) >= 1
    assert max(sizes) <= window
    assert sizes[1:-1] == [window] * len(sizes[1:-1])
    assert [x["carry"].tolist() for x, _, _ in examples] == [
        [float(i > 0)] * batch_size for i in range(len(examples))
    ]


def test_types_and_shapes():
    (inputs, targets, weights), *_ = [windows(text(50), 4, 5, 1)(0).element_spec]
    assert inputs["tokens"] == targets == tf.TensorSpec([4, None], tf.int32)
    assert weights == tf.TensorSpec([4, None], tf.float32)
    assert inputs["carry"] == tf.TensorSpec([4], tf.float32)


def test_the_order_is_a_function_of_seed_and_epoch():
    def epoch_of(seed, epoch):
        return batches(windows(text(300), 3, 16, seed)(epoch))

    keras.utils.set_random_seed(1)
    first = epoch_of(5, 2)
    keras.utils.set_random_seed(2)
    assert equal(epoch_of(5, 2), first)
    # Other epochs in between change nothing.
    of_epoch = windows(text(300), 3, 16, 5)
    of_epoch(0), of_epoch(7)
    assert equal(batches(of_epoch(2)), first)
    borders = lambda examples: [y.shape[1] for _, y, _ in examples]  # noqa: E731
    assert len({tuple(borders(epoch_of(5, e))) for e in range(8)}) > 3
    assert len({tuple(borders(epoch_of(s, 0))) for s in range(8)}) > 3
    assert len({tuple(borders(epoch_of(None, e))) for e in range(8)}) == 1


@pytest.mark.parametrize("seed", [None, 4])
def test_skip_gives_the_remaining_batches(seed):
    of_epoch = windows(text(130), 4, 7, seed)
    whole = batches(of_epoch(1))
    for n in 0, 1, len(whole) - 1, len(whole):
        remaining = of_epoch(1).skip(n)
        assert remaining.cardinality().numpy() == len(whole) - n
        assert equal(batches(remaining), whole[n:])


def test_a_dataset_may_be_read_twice():
    dataset = windows(text(60), 2, 7, 3)(0)
    assert equal(batches(dataset), batches(dataset))


def test_ids_of_any_integer_type():
    for dtype in np.int64, np.uint8:
        [_, targets, _], *_ = batches(windows(text(30).astype(dtype), 2, 40)(0))
        assert targets.dtype == np.int32
        assert targets.ravel().tolist() == text(30).tolist()


def test_too_few_tokens():
    with pytest.raises(ValueError, match="3 tokens are too few for a batch of 4 streams"):
        windows(text(3), 4, 10)
    with pytest.raises(ValueError, match="0 tokens are too few"):
        windows([], 1, 10)
