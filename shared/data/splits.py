"""Splits: lazy sequences of raw examples, with a digest of all that they read."""

import bisect
import functools
import hashlib
import itertools
import pathlib

from shared.data.hashes import file_hashes
from shared.errors import InputError


class Split:
    """A sequence of raw examples of one part of the data.

    An example is a string, or a tuple (input, target) of strings or bytes. A slice is a list of
    examples.

    Attributes:
        name: "train", "valid", "test" or the name of an extra test set.
        digest: SHA-256 (hex) of everything that the split reads.
    """

    name: str

    def __getitem__(self, index):
        """Returns one example, or a list of examples for a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        raise NotImplementedError

    def label(self, index):
        """Returns the display name of an example, for error messages and predictions."""
        return f"{self.name}, example {index + 1}"


class TextSplit(Split):
    """A split whose examples are in memory: text, or generated sounds and images.

    Args:
        name: name of the split.
        examples: list of strings, or of tuples of strings; an input may be bytes.
        labels: display names of the examples, indexed as `examples`; None numbers them.

    Example:

    >>> split = TextSplit("train", [("one", "eins"), ("two", "zwei")])
    >>> len(split), split[0], split.label(1)
    (2, ('one', 'eins'), 'train, example 2')
    """

    def __init__(self, name, examples, labels=None):
        self.name, self.examples, self.labels = name, examples, labels

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        return self.examples[index]

    def label(self, index):
        """Returns the display name of an example."""
        return super().label(index) if self.labels is None else self.labels[index]

    @functools.cached_property
    def digest(self):
        """SHA-256 of a file with one line for each example, its fields separated by tabs.

        A field of bytes is replaced by its SHA-256.
        """
        digest = hashlib.sha256()
        for example in self.examples:
            fields = (example,) if isinstance(example, str | bytes) else example
            line = "\t".join(map(_text, fields))
            digest.update(f"{line}\n".encode())
        return digest.hexdigest()


def _text(field):
    return hashlib.sha256(field).hexdigest() if isinstance(field, bytes) else field


class MediaSplit(Split):
    """A split whose inputs are files, such as WAV or JPEG: they are read when they are asked for.

    Args:
        name: name of the split.
        paths: the input files.
        targets: the target of each file, strings.

    Raises:
        InputError: there are no files, the numbers of files and targets differ, or a file name is not
            UTF-8. `digest` and reading raise it if a file is missing.
    """

    def __init__(self, name, paths, targets):
        self.name = name
        self.paths, self.targets = [pathlib.Path(path) for path in paths], list(targets)
        if not self.paths:
            raise InputError(f"{name} has no files")
        if len(self.paths) != len(self.targets):
            raise InputError(f"{name} has {len(self.paths)} files and {len(self.targets)} targets")
        for path in self.paths:
            if not _is_utf8(path.name):
                raise InputError(f"{str(path)!a}: the file name is not UTF-8; rename the file")

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return super().__getitem__(index)
        return self.read(index), self.targets[index]

    def read(self, index):
        """Returns the content of an input file, bytes."""
        try:
            return self.paths[index].read_bytes()
        except OSError as error:
            raise InputError(f"{self.paths[index]}: {error.strerror}") from None

    def label(self, index):
        """Returns the name of an input file."""
        return self.paths[index].name

    @functools.cached_property
    def digest(self):
        """SHA-256 of the names and contents of the files, and of their targets."""
        digest = hashlib.sha256()
        hashes = file_hashes(self.paths, description=f"hash of {self.name}")
        for path, content, target in zip(self.paths, hashes, self.targets, strict=True):
            digest.update(f"{path.name}\t{content}\t{target}\n".encode())
        return digest.hexdigest()


def _is_utf8(name):
    """Whether a file name can be written: Python keeps bytes that are not UTF-8 as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


class LineLabels:
    """Display names of lines: `labels[i]` is "<file>, line <number>".

    Args:
        paths: files that were read one after the other.
        counts: number of lines of each.

    Example:

    >>> labels = LineLabels(["a.txt", "b.txt"], [2, 1])
    >>> labels[1], labels[2]
    ('a.txt, line 2', 'b.txt, line 1')
    """

    def __init__(self, paths, counts):
        self.paths = list(paths)
        self.starts = [0, *itertools.accumulate(counts)]

    def __len__(self):
        return self.starts[-1]

    def __add__(self, other):
        """Returns the labels of the files of both, one after the other."""
        counts = [b - a for part in (self, other) for a, b in itertools.pairwise(part.starts)]
        return LineLabels([*self.paths, *other.paths], counts)

    def __getitem__(self, index):
        file = bisect.bisect_right(self.starts, index) - 1
        return f"{self.paths[file]}, line {index - self.starts[file] + 1}"


def digests(splits):
    """Returns {name: SHA-256} of `splits`, {name: `Split`}."""
    return {name: split.digest for name, split in splits.items()}
