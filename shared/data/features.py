"""A cache of features on disk: computed once for each split and setting, then memory-mapped."""

import contextlib
import hashlib
import json
import math
import pathlib
import sys

import numpy as np
from tqdm import tqdm

from shared.data.hashes import cache_folder
from shared.errors import InputError
from shared.files import lock, partial_path, read_json, remove, write_json, written


class FeatureCache:
    """Features of the examples of a split, such as log-mel frames or grids of a CNN.

    All examples lie one after the other in one file, which is memory-mapped: only what a batch needs is
    read. Made by `FeatureCache.build` or `FeatureCache.from_arrays`.

    Attributes:
        lengths: int32 (examples,), time steps of each example.
        shape: shape of the features of one time step.
        dtype: NumPy dtype of the features.

    Raises:
        InputError: the files of the cache are damaged.
    """

    def __init__(self, folder):
        folder = pathlib.Path(folder)
        try:
            about = read_json(folder / "about.json")
            self.shape, self.dtype = tuple(about["shape"]), np.dtype(about["dtype"])
            self.lengths = np.load(folder / "lengths.npy")
            self._starts = np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])
            self._values = _memory_mapped(
                folder / "values.bin", (int(self._starts[-1]), *self.shape), self.dtype
            )
        except (OSError, EOFError, ValueError, KeyError, TypeError, InputError) as error:
            raise InputError(
                f"{folder} is damaged ({error}): remove it, and it is made again"
            ) from None

    @classmethod
    def build(cls, split, compute, settings, batch_size=32):
        """Opens the cache of a split; computes the features first if there is none.

        The key of a cache is the digest of the data and the settings. A cache is written whole or not at
        all. If another process computes the same features, this one waits for them.

        Args:
            split: `Split` whose examples are (input, target).
            compute: function of a list of inputs (bytes or strings) that returns a list of arrays
                (time, ...), one for each input; all of the same dtype and the same shape of a time step.
            settings: everything else that affects the features, a dict for JSON.
            batch_size: number of inputs given to `compute` at once.

        Returns:
            a `FeatureCache` with one entry for each example, in the order of the split.

        Raises:
            InputError: `compute` raises it for an input, whose label is added; or the cache cannot be
                written, for example because the disk is full.
        """
        return cls.from_arrays(
            [split.digest, settings],
            lambda: _computed(split, compute, batch_size),
            f"features of {split.name}",
            len(split),
        )

    @classmethod
    def from_arrays(cls, key, arrays, description, total=None):
        """Opens the cache of any arrays; writes them first if there is none.

        It is written as by `build`.

        Args:
            key: everything that determines the arrays, a value for JSON.
            arrays: function without arguments that returns an iterable of arrays (time, ...), all of the
                same dtype and the same shape of a time step.
            description: what the arrays are, such as "features of train", for the progress bar.
            total: number of arrays, for the progress bar.

        Returns:
            a `FeatureCache` with one entry for each array.

        Raises:
            InputError: there are no arrays, or the cache cannot be written.
        """
        key = json.dumps(key, sort_keys=True)
        folder = cache_folder() / "features" / hashlib.sha256(key.encode()).hexdigest()[:32]
        if not folder.exists():
            try:
                folder.parent.mkdir(parents=True, exist_ok=True)
                with _locked(folder.with_name(f".lock-{folder.name}"), description):
                    if not folder.exists():
                        _write_folder(folder, arrays, description, total)
            except OSError as error:
                raise InputError(
                    f"the {description} cannot be written to {folder.parent} ({error}): set "
                    "the environment variable PEEPHOLE_CACHE to another folder"
                ) from None
        return cls(folder)

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, index):
        """Returns the features of one example, (time, ...)."""
        index = range(len(self))[index]  # as for a list: -1 is the last example
        return self._values[self._starts[index] : self._starts[index + 1]]

    def batch(self, rows, time):
        """Returns examples as one array, padded with zeros.

        Args:
            rows: int (batch,), indices of examples; `len(self)` gives a row of padding.
            time: number of time steps, at least the greatest length.

        Returns:
            (batch, time, ...).
        """
        result = np.zeros((len(rows), time, *self.shape), self.dtype)
        for values, row in zip(result, rows, strict=True):
            if row < len(self):
                values[: self.lengths[row]] = self[row]
        return result

    def take(self, indices):
        """Returns a view that has only the examples at `indices`, int (examples,)."""
        return _View(self, np.asarray(indices, np.int64))


class _View:
    """Some examples of a `FeatureCache`, with the same interface."""

    def __init__(self, cache, indices):
        self._cache, self._indices = cache, indices
        self.lengths, self.shape, self.dtype = cache.lengths[indices], cache.shape, cache.dtype

    def __len__(self):
        return len(self._indices)

    def __getitem__(self, index):
        return self._cache[self._indices[index]]

    def batch(self, rows, time):
        """Returns examples as one array; see `FeatureCache.batch`."""
        rows = np.append(self._indices, len(self._cache))[rows]
        return self._cache.batch(rows, time)

    def take(self, indices):
        """Returns a view of this view."""
        return _View(self._cache, self._indices[np.asarray(indices, np.int64)])


def _memory_mapped(path, shape, dtype):
    size, expected = path.stat().st_size, math.prod(shape) * dtype.itemsize
    if size != expected:
        raise ValueError(f"{path.name} has {size} bytes instead of {expected}")
    if not size:  # an empty file cannot be mapped
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", shape=shape)


@contextlib.contextmanager
def _locked(path, description):
    """Waits until no other process computes the same arrays."""
    with open(path, "w") as file:
        if not lock(file, path):
            print(f"waiting for the {description} from another process", file=sys.stderr)
            lock(file, path, wait=True)
        yield


def _computed(split, compute, batch_size):
    """Yields the features of each example of a split."""
    if not len(split):
        raise InputError(f"{split.name} has no examples")
    for begin in range(0, len(split), batch_size):
        inputs = [example[0] for example in split[begin : begin + batch_size]]
        try:
            arrays = compute(inputs)
        except InputError:
            _name_the_example(split, begin, inputs, compute)
            raise
        if len(arrays) != len(inputs):
            raise ValueError(f"{len(arrays)} arrays were computed for {len(inputs)} inputs")
        yield from arrays


def _name_the_example(split, begin, inputs, compute):
    """Computes each input by itself, and raises InputError with the label of the first that fails."""
    for i, value in enumerate(inputs):
        try:
            compute([value])
        except InputError as error:
            raise InputError(f"{split.label(begin + i)}: {error}") from None


def _write_folder(folder, arrays, description, total):
    """Writes arrays into a folder, which appears when it is complete."""
    remove(partial_path(folder))  # of a process that was killed
    with written(folder) as partial:
        partial.mkdir()
        _write(partial, arrays, description, total)


def _write(folder, arrays, description, total):
    """Writes arrays into three files."""
    lengths, first = [], None
    bar = tqdm(desc=description, total=total, mininterval=1, unit="example")
    with bar, open(folder / "values.bin", "wb") as file:
        for array in map(np.ascontiguousarray, arrays()):
            first = array if first is None else first
            if array.shape[1:] != first.shape[1:] or array.dtype != first.dtype:
                raise ValueError(
                    "features of all examples need one dtype and one shape of a time step. Received: "
                    f"{first.dtype} {first.shape[1:]} and {array.dtype} {array.shape[1:]}"
                )
            file.write(array.data if array.size else b"")
            lengths.append(len(array))
            bar.update()
    if first is None:
        raise InputError(f"there are no {description}")
    np.save(folder / "lengths.npy", np.array(lengths, np.int32))
    write_json(folder / "about.json", {"shape": first.shape[1:], "dtype": first.dtype.str})
