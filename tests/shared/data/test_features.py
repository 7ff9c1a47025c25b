"""The feature cache: right values, computed once, whole or not at all.

This file is also the program that is killed or run twice at once:

    python tests/shared/data/test_features.py kill|slow|open
"""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from shared.data.features import FeatureCache
from shared.data.splits import MediaSplit, TextSplit
from shared.errors import InputError

LENGTHS = [3, 0, 5, 1, 4]
TEXTS = ["abc", "", "hello", "x", "four"]


def split_of(texts=TEXTS, name="train"):
    return TextSplit(name, [(text, "target") for text in texts])


def frames(text, dtype=np.float32):
    """Returns features (len(text), 2, 3) of a text."""
    codes = np.frombuffer(text if isinstance(text, bytes) else text.encode(), np.uint8)
    return (codes[:, np.newaxis, np.newaxis] + np.arange(6).reshape(2, 3)).astype(dtype)


class Compute:
    """Computes `frames` and counts its calls."""

    def __init__(self, dtype=np.float32):
        self.dtype, self.batches = dtype, []

    def __call__(self, inputs):
        self.batches.append(list(inputs))
        return [frames(text, self.dtype) for text in inputs]


def caches(cache):
    """Returns the names of what is in the folder of feature caches, without lock files."""
    if not (cache / "features").exists():
        return []
    return [p.name for p in (cache / "features").iterdir() if not p.name.startswith(".lock-")]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8, np.int64])
@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_values_are_those_that_were_computed(dtype, batch_size):
    compute = Compute(dtype)
    cache = FeatureCache.build(split_of(), compute, {}, batch_size)
    assert len(cache) == 5
    assert cache.lengths.dtype == np.int32
    assert cache.lengths.tolist() == LENGTHS
    assert (cache.shape, cache.dtype) == ((2, 3), np.dtype(dtype))
    for i, text in enumerate(TEXTS):
        assert cache[i].dtype == dtype
        np.testing.assert_array_equal(cache[i], frames(text, dtype))
    np.testing.assert_array_equal(cache[-1], frames(TEXTS[-1], dtype))
    assert [len(array) for array in cache] == LENGTHS
    with pytest.raises(IndexError):
        cache[5]
    assert [text for batch in compute.batches for text in batch] == TEXTS
    assert max(map(len, compute.batches)) == min(batch_size, 5)


def test_other_shapes_of_a_time_step():
    one = FeatureCache.build(split_of(), lambda texts: [np.arange(len(t)) for t in texts], {})
    assert (one.shape, one[2].tolist()) == ((), [0, 1, 2, 3, 4])
    assert one.batch([0], 4).tolist() == [[0, 1, 2, 0]]
    # Views that are not contiguous, and no time steps at all.
    turned = FeatureCache.build(
        split_of(), lambda ts: [frames(t).transpose(0, 2, 1) for t in ts], 1
    )
    np.testing.assert_array_equal(turned[2], frames("hello").transpose(0, 2, 1))
    empty = FeatureCache.build(split_of(["", ""]), Compute(), {})
    assert empty.lengths.tolist() == [0, 0]
    assert empty.batch([0, 2], 1).shape == (2, 1, 2, 3)


def test_features_are_computed_once(capsys):
    compute = Compute()
    first = FeatureCache.build(split_of(), compute, {"rate": 8000})
    assert "features of train" in capsys.readouterr().err
    second = FeatureCache.build(split_of(name="another name"), compute, {"rate": 8000})
    assert len(compute.batches) == 1
    assert capsys.readouterr().err == ""  # no progress bar
    np.testing.assert_array_equal(first[2], second[2])


def test_a_new_process_finds_the_cache(tmp_path):
    compute = Compute()
    FeatureCache.build(split_of(), compute, {"from": "test"})
    with start("open") as process:
        assert process.communicate() == ("8.0\n", "")


def test_other_settings_or_data_have_another_cache(cache):
    compute = Compute()
    FeatureCache.build(split_of(), compute, {"rate": 8000, "bins": 40})
    FeatureCache.build(split_of(), compute, {"bins": 40, "rate": 8000})  # the order of names
    assert len(compute.batches) == 1
    FeatureCache.build(split_of(), compute, {"rate": 16000, "bins": 40})
    FeatureCache.build(split_of(TEXTS[::-1]), compute, {"rate": 8000, "bins": 40})
    assert len(compute.batches) == 3
    assert len(caches(cache)) == 3


def test_a_split_of_files(tmp_path):
    paths = [tmp_path / f"{i}.wav" for i in range(5)]
    for path, text in zip(paths, TEXTS, strict=True):
        path.write_bytes(text.encode())
    split = MediaSplit("train", paths, ["target"] * 5)
    features = FeatureCache.build(split, Compute(), {})
    np.testing.assert_array_equal(features[2], frames("hello"))
    paths[2].write_bytes(b"longer than before")
    changed = FeatureCache.build(MediaSplit("train", paths, ["target"] * 5), Compute(), {})
    assert changed.lengths.tolist() == [3, 0, 18, 1, 4]
    assert features.lengths.tolist() == LENGTHS


# --- Batches and views ---------------------------------------------------------------------------


def test_batch_pads_with_zeros():
    cache = FeatureCache.build(split_of(), Compute(np.uint8), {})
    batch = cache.batch(np.array([2, 1, 5, 0]), 6)  # 5: a row of padding
    assert (batch.shape, batch.dtype) == ((4, 6, 2, 3), np.uint8)
    np.testing.assert_array_equal(batch[0, :5], frames("hello"))
    np.testing.assert_array_equal(batch[3, :3], frames("abc"))
    assert not batch[0, 5:].any()
    assert not batch[1:3].any()
    assert not batch[3, 3:].any()
    batch[:] = 7  # a copy: the cache is not written to
    np.testing.assert_array_equal(cache[2], frames("hello"))


def test_views():
    cache = FeatureCache.build(split_of(), Compute(), {})
    view = cache.take([4, 2, 1])
    assert len(view) == 3
    assert (view.shape, view.dtype) == (cache.shape, cache.dtype)
    assert view.lengths.tolist() == [4, 5, 0]
    np.testing.assert_array_equal(view[1], cache[2])
    np.testing.assert_array_equal(view[-1], cache[1])
    assert [len(array) for array in view] == [4, 5, 0]
    np.testing.assert_array_equal(view.batch([0, 3, 1], 5), cache.batch([4, 5, 2], 5))
    nested = view.take(np.array([1, 0]))
    assert nested.lengths.tolist() == [5, 4]
    np.testing.assert_array_equal(nested[1], cache[4])
    np.testing.assert_array_equal(nested.batch([2, 0], 5), cache.batch([5, 2], 5))
    assert len(cache.take([])) == len(view.take([])) == 0


# --- Errors and interruptions --------------------------------------------------------------------


def test_an_error_of_compute_names_the_example(cache):
    def compute(inputs):
        if "x" in inputs:
            raise InputError("not a sound")
        return [frames(text) for text in inputs]

    for batch_size in (1, 2, 32):
        with pytest.raises(InputError, match=r"^train, example 4: not a sound$"):
            FeatureCache.build(split_of(), compute, {}, batch_size)
    assert caches(cache) == []
    # The next attempt computes everything again.
    repaired = Compute()
    assert len(FeatureCache.build(split_of(), repaired, {}, batch_size=2)) == 5
    assert len(repaired.batches) == 3


def test_an_error_of_a_whole_batch():
    def compute(inputs):
        if len(inputs) > 1:
            raise InputError("too many")
        return [frames(text) for text in inputs]

    with pytest.raises(InputError, match=r"^too many$"):
        FeatureCache.build(split_of(), compute, {})


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_nothing(cache, error):
    def compute(inputs):
        if "x" in inputs:
            raise error
        return [frames(text) for text in inputs]

    with pytest.raises(error):
        FeatureCache.build(split_of(), compute, {}, batch_size=1)
    assert caches(cache) == []


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([frames("a"), frames("b", np.float16)], r"float32 \(2, 3\) and float16 \(2, 3\)"),
        ([frames("a"), frames("b")[:, :1]], r"float32 \(2, 3\) and float32 \(1, 3\)"),
        ([frames("")[:, :1], frames("b")], r"float32 \(1, 3\) and float32 \(2, 3\)"),
        ([frames("a")], "1 arrays were computed for 2 inputs"),
        ([frames("a")] * 3, "3 arrays were computed for 2 inputs"),
    ],
)
def test_features_that_do_not_fit_together(cache, arrays, message):
    with pytest.raises(ValueError, match=message):
        FeatureCache.build(split_of(["a", "b"]), lambda inputs: arrays, {})
    assert caches(cache) == []


def test_arrays_of_any_origin(cache, capsys):
    arrays = [frames(text) for text in TEXTS]
    calls = []

    def compute():
        calls.append(None)
        yield from arrays

    for _ in range(2):
        found = FeatureCache.from_arrays(["key", 1], compute, "sounds of train")
        for array, expected in zip(found, arrays, strict=True):
            np.testing.assert_array_equal(array, expected)
    assert len(calls) == 1
    assert "sounds of train" in capsys.readouterr().err
    FeatureCache.from_arrays(["key", 2], compute, "sounds of train")
    assert len(calls) == 2
    assert len(caches(cache)) == 2
    with pytest.raises(InputError, match="there are no sounds of valid"):
        FeatureCache.from_arrays(["key", 3], lambda: [], "sounds of valid")
    assert len(caches(cache)) == 2


def test_a_split_without_examples(cache):
    with pytest.raises(InputError, match="train has no examples"):
        FeatureCache.build(split_of([]), Compute(), {})
    assert caches(cache) == []


def test_a_cache_that_cannot_be_written(cache):
    cache.write_text("a file, not a folder")
    with pytest.raises(InputError, match=r"features of train cannot be written .*PEEPHOLE_CACHE"):
        FeatureCache.build(split_of(), Compute(), {})


@pytest.mark.parametrize(
    "damage",
    ["no about.json", "about.json", "values", "more values", "no values", "lengths", "no lengths"],
)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{}", b"[1]"])
def test_a_damaged_cache(cache, damage, content):
    FeatureCache.build(split_of(), Compute(), {})
    [folder] = [p for p in (cache / "features").iterdir() if p.is_dir()]
    path = folder / {"about.json": "about.json", "values": "values.bin"}.get(
        damage.removeprefix("no ").removeprefix("more "), "lengths.npy"
    )
    if damage.startswith("no "):
        path.unlink()
    elif damage == "more values":
        path.write_bytes(path.read_bytes() + content + b"1")
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{folder.name} is damaged \(.+\): remove it") as caught:
        FeatureCache.build(split_of(), Compute(), {})
    assert "\n" not in str(caught.value)


# --- Other processes -----------------------------------------------------------------------------


def start(what):
    """Starts this file as a program, with the code of this checkout and the cache of the test."""
    root = pathlib.Path(__file__).parents[3]
    return subprocess.Popen(
        [sys.executable, __file__, what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


def test_a_killed_process_leaves_no_cache(cache):
    with start("kill") as process:
        _, stderr = process.communicate()
    assert process.returncode == -signal.SIGKILL, stderr
    [partial] = caches(cache)
    assert partial.endswith(".partial")
    compute = Compute()
    built = FeatureCache.build(split_of(), compute, {"from": "test"}, batch_size=1)
    assert len(compute.batches) == 5
    np.testing.assert_array_equal(built[2], frames("hello"))
    [name] = caches(cache)
    assert f".{name}.partial" == partial


def test_a_second_process_waits_for_the_first(cache):
    with start("slow") as first:
        assert first.stdout.readline() == "computing\n"
        with start("open") as second:
            assert second.stderr.readline().startswith("waiting for the features of train")
            assert first.communicate("\n")[0] == "8.0\n"
            assert second.communicate() == ("8.0\n", "")
    assert first.returncode == second.returncode == 0
    assert len(caches(cache)) == 1


def main(what):
    def compute(inputs):
        if what == "open":
            sys.exit("the features were computed again")
        if what == "kill" and "hello" in inputs:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        if what == "slow" and "hello" in inputs:
            print("computing", flush=True)
            sys.stdin.readline()
        return [frames(text) for text in inputs]

    cache = FeatureCache.build(split_of(), compute, {"from": "test"}, batch_size=1)
    print(float(cache[2][0, 1, 2] - cache[2][0, 0, 0] + 3))


if __name__ == "__main__":
    main(sys.argv[1])
