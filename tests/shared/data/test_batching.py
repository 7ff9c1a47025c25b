"""Windows over a text: nothing is lost, nothing twice, and the order is a function of (seed, epoch)."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.data.batching import buckets, windows

rng = np.random.default_rng(7)
# (tokens, batch_size, window, seed, epoch), at random; and the borders by hand.
SIZES = [
    (int(rng.integers(b, 200)), b, int(rng.integers(1, 40)), seed, int(rng.integers(0, 5)))
    for b, seed in zip(rng.integers(1, 12, 30).tolist(), [None, 0, 1, 99, 12345] * 6, strict=True)
] + [
    (1, 1, 1, None, 0), (1, 1, 1, 3, 0), (5, 5, 4, 3, 0), (5, 4, 1, 3, 1), (12, 3, 4, None, 0),
    (12, 3, 4, 3, 2), (13, 3, 4, 3, 2), (100, 2, 1, 3, 0), (100, 2, 1000, 3, 0), (101, 10, 10, 0, 0),
]  # fmt: skip


def text(tokens):
    """Ids of which no two are equal: a token that is lost or read twice shows."""
    return np.random.default_rng(tokens).permutation(tokens).astype(np.int32) + 1


def batches(dataset):
    return list(dataset.as_numpy_iterator())


def equal(ours, theirs):
    return len(ours) == len(theirs) and all(
        np.array_equal(a, b)
        for x, y in zip(ours, theirs, strict=True)
        for a, b in zip(tf.nest.flatten(x), tf.nest.flatten(y), strict=True)
    )


@pytest.mark.parametrize(("tokens", "batch_size", "window", "seed", "epoch"), SIZES)
def test_every_token_is_predicted_once_from_the_one_before(tokens, batch_size, window, seed, epoch):
    ids = text(tokens)
    dataset = windows(ids, batch_size, window, seed)(epoch)
    found = batches(dataset)
    assert dataset.cardinality().numpy() == len(found)

    # Row b of every batch continues row b of the batch before.
    inputs = np.concatenate([x["tokens"] for x, _, _ in found], axis=1)
    targets = np.concatenate([y for _, y, _ in found], axis=1)
    weights = np.concatenate([w for _, _, w in found], axis=1)
    assert inputs.shape == targets.shape == weights.shape
    assert targets.shape == (batch_size, -(-tokens // batch_size))
    # Stream after stream they are the text, and after it only padding.
    assert weights.ravel().tolist() == [1.0] * tokens + [0.0] * (weights.size - tokens)
    assert targets.ravel()[:tokens].tolist() == ids.tolist()
    assert inputs.ravel()[:tokens].tolist() == [0, *ids[:-1]]

    sizes = [y.shape[1] for _, y, _ in found]
    assert min(sizes) >= 1
    assert max(sizes) <= window
    assert sizes[1:-1] == [window] * len(sizes[1:-1])
    assert [x["carry"].tolist() for x, _, _ in found] == [
        [float(i > 0)] * batch_size for i in range(len(found))
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
    # The same function asked for other epochs in between gives the same again.
    of = windows(text(300), 3, 16, 5)
    of(0), of(7)
    assert equal(batches(of(2)), first)
    borders = lambda found: [y.shape[1] for _, y, _ in found]  # noqa: E731
    assert len({tuple(borders(epoch_of(5, e))) for e in range(8)}) > 3
    assert len({tuple(borders(epoch_of(s, 0))) for s in range(8)}) > 3
    assert len({tuple(borders(epoch_of(None, e))) for e in range(8)}) == 1


@pytest.mark.parametrize("seed", [None, 4])
def test_skip_gives_the_rest(seed):
    of = windows(text(130), 4, 7, seed)
    whole = batches(of(1))
    for n in 0, 1, len(whole) - 1, len(whole):
        rest = of(1).skip(n)
        assert rest.cardinality().numpy() == len(whole) - n
        assert equal(batches(rest), whole[n:])


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


# --- Buckets -------------------------------------------------------------------------------------


def columns(n=103, seed=0):
    """Two columns in which example i begins with i + 1."""
    rng = np.random.default_rng(seed)
    some = lambda i, most: np.array([i + 1, *rng.integers(1, 99, rng.integers(0, most))])  # noqa: E731
    return {"a": [some(i, 30) for i in range(n)], "b": [some(i, 12) for i in range(n)]}


def rows_of(dataset):
    """Every row that is no padding: [(a, b)], and the shapes of the batches."""
    rows, shapes = [], []
    for batch in dataset.as_numpy_iterator():
        (a, n), (b, m) = batch["a"], batch["b"]
        shapes.append((a.shape, b.shape))
        assert a.dtype == n.dtype == np.int32
        for i in range(len(a)):
            assert (a[i, n[i] :] == 0).all()
            assert (b[i, m[i] :] == 0).all()
            assert (n[i] == 0) == (m[i] == 0)
            if n[i]:
                rows.append((a[i, : n[i]].tolist(), b[i, : m[i]].tolist()))
    return rows, shapes


@pytest.mark.parametrize("seed", [None, 3])
def test_buckets_hold_every_example_once(seed):
    data = columns()
    of_epoch = buckets(data, 8, multiple=4, seed=seed, pool=5)
    expected = sorted((a.tolist(), b.tolist()) for a, b in zip(*data.values(), strict=True))
    for epoch in (0, 1):
        rows, shapes = rows_of(of_epoch(epoch))
        assert sorted(rows) == expected
        assert of_epoch(epoch).cardinality().numpy() == len(shapes) == 13
        assert {(a[0], b[0]) for a, b in shapes} == {(8, 8)}
        assert all(a[1] % 4 == b[1] % 4 == 0 for a, b in shapes)


def test_buckets_are_a_function_of_seed_and_epoch():
    data = columns()
    first = rows_of(buckets(data, 8, seed=3)(1))
    assert rows_of(buckets(data, 8, seed=3)(1)) == first
    assert rows_of(buckets(data, 8, seed=3)(2)) != first
    assert rows_of(buckets(data, 8, seed=4)(1)) != first
    plain = buckets(data, 8)
    assert rows_of(plain(0)) == rows_of(plain(1))


def test_buckets_are_mostly_no_padding():
    data = columns(2000)
    _, shapes = rows_of(buckets(data, 16, multiple=4, seed=1)(0))
    real = sum(map(len, data["a"]))
    assert real / sum(a[0] * a[1] for a, _ in shapes) > 0.8


@pytest.mark.parametrize("data", [{"a": []}, {"a": [[1]], "b": [[1], [2]]}])
def test_buckets_refuse(data):
    with pytest.raises(ValueError, match="all equally many"):
        buckets(data, 2)
