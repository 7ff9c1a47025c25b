"""Buckets: each example is in one batch, little padding, the same for every kind of column."""

import numpy as np
import pytest
import tensorflow as tf

from shared.data.batching import buckets, drop_longer, report_dropped, row_lengths
from shared.data.features import FeatureCache
from shared.data.splits import TextSplit
from shared.errors import InputError


def columns(n=103, seed=0):
    """Returns two columns of lists of ids, in which example i begins with i + 1."""
    rng = np.random.default_rng(seed)
    ids = lambda i, most: np.array([i + 1, *rng.integers(1, 99, rng.integers(0, most))])  # noqa: E731
    return {"a": [ids(i, 30) for i in range(n)], "b": [ids(i, 12) for i in range(n)]}


def feature_cache(arrays):
    """Returns a `FeatureCache` of arrays."""
    split = TextSplit("train", [(str(i), "") for i in range(len(arrays))])
    settings = {"name": [np.asarray(a).tolist() for a in arrays], "type": str(arrays[0].dtype)}
    return FeatureCache.build(split, lambda inputs: [arrays[int(i)] for i in inputs], settings)


def rows_of(dataset):
    """Returns all rows that are not padding, [(a, b)], and the shapes of the batches."""
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
def test_every_example_is_in_one_batch(seed):
    data = columns()
    of_epoch = buckets(data, 8, multiple=4, seed=seed, pool=5)
    expected = sorted((a.tolist(), b.tolist()) for a, b in zip(*data.values(), strict=True))
    for epoch in (0, 1):
        rows, shapes = rows_of(of_epoch(epoch))
        assert sorted(rows) == expected
        assert of_epoch(epoch).cardinality().numpy() == len(shapes) == 13
        assert {(a[0], b[0]) for a, b in shapes} == {(8, 8)}
        assert all(a[1] % 4 == b[1] % 4 == 0 for a, b in shapes)


def test_the_order_is_a_function_of_seed_and_epoch():
    data = columns()
    first = rows_of(buckets(data, 8, seed=3)(1))
    assert rows_of(buckets(data, 8, seed=3)(1)) == first
    assert rows_of(buckets(data, 8, seed=3)(2)) != first
    assert rows_of(buckets(data, 8, seed=4)(1)) != first
    without_seed = buckets(data, 8)
    assert rows_of(without_seed(0)) == rows_of(without_seed(1))


def test_there_is_little_padding():
    data = columns(2000)
    _, shapes = rows_of(buckets(data, 16, multiple=4, seed=1)(0))
    tokens = sum(map(len, data["a"]))
    assert tokens / sum(a[0] * a[1] for a, _ in shapes) > 0.8


def test_skip_gives_the_remaining_batches():
    of_epoch = buckets({"a": feature_cache([np.ones([i, 2]) for i in range(20)])}, 3, seed=1)
    whole = list(of_epoch(4).as_numpy_iterator())
    remaining = list(of_epoch(4).skip(5).as_numpy_iterator())
    assert len(whole) == 7
    for x, y in zip(whole[5:], remaining, strict=True):
        np.testing.assert_array_equal(x["a"][0], y["a"][0])


@pytest.mark.parametrize("data", [{"a": []}, {"a": [[1]], "b": [[1], [2]]}])
def test_columns_without_examples_or_of_different_lengths(data):
    counts = {name: len(column) for name, column in data.items()}
    with pytest.raises(ValueError, match=rf"the same number of examples.* Received: {counts}"):
        buckets(data, 2)


# --- Kinds of columns ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [None, 3])
def test_every_kind_of_column_gives_the_same_batches(seed):
    data = columns(30)
    data["b"][7] = data["b"][7][:0]  # an example without time steps
    kinds = {
        "list": data["a"],
        "lists": [ids.tolist() for ids in data["a"]],
        "ragged": tf.ragged.constant([ids.tolist() for ids in data["a"]], dtype=tf.int32),
        "ragged int64": tf.ragged.constant([ids.tolist() for ids in data["a"]], dtype=tf.int64),
        "cache": feature_cache([ids.astype(np.int32) for ids in data["a"]]),
        "view": feature_cache([ids.astype(np.int32) for ids in data["a"][::-1]]).take(
            range(29, -1, -1)
        ),
    }
    assert {tuple(row_lengths(column)) for column in kinds.values()} == {
        tuple(len(ids) for ids in data["a"])
    }
    expected = list(buckets(data, 4, 4, seed)(2).as_numpy_iterator())
    for name, column in kinds.items():
        dataset = buckets({"a": column, "b": data["b"]}, 4, 4, seed)(2)
        assert dataset.element_spec["a"] == (
            tf.TensorSpec([4, None], tf.int32), tf.TensorSpec([4], tf.int32),
        )  # fmt: skip
        for x, y in zip(expected, dataset.as_numpy_iterator(), strict=True):
            tf.nest.map_structure(
                lambda a, b, name=name: np.testing.assert_array_equal(a, b, name, strict=True), x, y
            )


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
def test_batches_of_features(dtype):
    arrays = [np.full([n, 2, 3], n, dtype) for n in (3, 1, 0, 5, 2)]
    cache = feature_cache(arrays)
    ids = [[n] for n in (3, 1, 9, 5, 2)]
    dataset = buckets({"frames": cache, "ids": ids}, 2, multiple=4)(0)
    values, lengths = dataset.element_spec["frames"]
    assert values == tf.TensorSpec([2, None, 2, 3], dtype)
    assert lengths == tf.TensorSpec([2], tf.int32)
    batches = list(dataset.as_numpy_iterator())
    assert [b["frames"][1].tolist() for b in batches] == [[0, 1], [2, 3], [5, 0]]
    assert [b["ids"][0][:, 0].tolist() for b in batches] == [[9, 1], [2, 3], [5, 0]]
    for batch in batches:
        values, lengths = batch["frames"]
        assert values.shape[1] in (4, 8)
        for row, length in zip(values, lengths, strict=True):
            assert (row[:length] == length).all()
            assert (row[length:] == 0).all()


# --- drop_longer ---------------------------------------------------------------------------------


def data_of(lengths):
    """Returns a list, a ragged and a cached column with examples of these lengths."""
    rows = [np.full([n], i + 1, np.int32) for i, n in enumerate(lengths)]
    return {
        "list": rows,
        "ragged": tf.RaggedTensor.from_row_lengths(np.concatenate(rows), lengths),
        "cache": feature_cache(rows),
    }


def test_longer_examples_are_dropped_and_counted(capsys):
    data = data_of([1, 5, 2, 6, 3, 4, 4, 2, 1, 1])
    short = [[7] for _ in range(10)]
    capsys.readouterr()
    kept = drop_longer({**data, "short": short}, 4, "train")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "train: 2 of 10 examples are longer than --max-length 4 tokens and are dropped from training\n"
    )
    lengths = [1, 2, 3, 4, 4, 2, 1, 1]
    assert [row_lengths(kept[name]).tolist() for name in data] == [lengths] * 3
    assert len(kept["short"]) == 8
    values = [int(row[0]) for row in kept["list"]]
    assert values == [1, 3, 5, 6, 7, 8, 9, 10]
    assert kept["ragged"][:, :1].flat_values.numpy().tolist() == values
    assert [int(row[0]) for row in kept["cache"]] == values
    buckets(kept, 2)(0)
    # Dropping again has nothing to do.
    assert drop_longer(kept, 4, "train") is kept
    assert capsys.readouterr().err == ""


def test_one_long_column_drops_the_example(capsys):
    data = {"a": [[1], [2, 2], [3], [4]], "b": [[1], [2], [3, 3, 3], [4]]}
    assert drop_longer(data, 1, "train") == {"a": [[1], [4]], "b": [[1], [4]]}
    assert capsys.readouterr().err.startswith("train: 2 of 4 examples")


def test_nothing_is_dropped(capsys):
    data = {"a": [[1, 2], [3]]}
    assert drop_longer(data, 2, "train") is data
    assert capsys.readouterr() == ("", "")


def test_more_than_half_of_the_examples_are_longer(capsys):
    message = (
        r"^valid: 1,001 of 2,000 examples are longer than --max-seconds 1 frames, more than half: "
        r"raise --max-seconds: half of the examples have 2 frames or more$"
    )
    data = {"a": [[1, 2]] * 1001 + [[1]] * 999}
    with pytest.raises(InputError, match=message):
        drop_longer(data, 1, "valid", flag="--max-seconds", unit="frames")
    half = {"a": [[1, 2]] * 1000 + [[1]] * 1000}
    assert len(drop_longer(half, 1, "valid")["a"]) == 1000
    assert capsys.readouterr().err.startswith("valid: 1,000 of 2,000 examples")


def test_what_is_dropped_for_another_reason_is_reported(capsys):
    report_dropped(0, 5, "train", "have an empty side", "correct the data")
    assert capsys.readouterr() == ("", "")
    report_dropped(2, 5, "train", "have an empty side", "correct the data")
    line = "train: 2 of 5 examples have an empty side and are dropped from training\n"
    assert capsys.readouterr() == ("", line)
    message = "^train: 3 of 5 examples have an empty side, more than half: correct the data$"
    with pytest.raises(InputError, match=message):
        report_dropped(3, 5, "train", "have an empty side", "correct the data")
