"""Reads the tensors of a PyTorch checkpoint without PyTorch.

A checkpoint is a pickle, and a pickle may call any function. This reader knows the few names that tensors
need and refuses every other one, so that a manipulated file runs no code.
"""

import collections
import io
import pickle

import numpy as np

from shared.errors import InputError

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # first value of PyTorch's legacy format, before version 1.6
DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}


def read(path):
    """Reads a checkpoint in PyTorch's legacy format, a dict of tensors.

    Args:
        path: the .pth file.

    Returns:
        {name: array}.

    Raises:
        InputError: the file cannot be read, has another format, or contains something that is not a tensor.
    """
    try:
        with open(path, "rb") as file:
            return _read(file)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    # Pickle raises many types of exception for a damaged file.
    except Exception as error:
        raise InputError(f"{path} is not a PyTorch checkpoint of tensors: {error}") from None


class _Tensor:
    """A tensor whose values are read later: they stand behind the pickles."""

    def __init__(self, storage, offset, shape, strides, *_):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def array(self, storages):
        """Returns the values, given {storage: array}."""
        values = storages[self.storage]
        last = self.offset + sum(
            (n - 1) * step for n, step in zip(self.shape, self.strides, strict=True)
        )
        if min(self.offset, *self.strides, *self.shape, 0) < 0 or last >= len(values):
            raise ValueError("a tensor lies outside of its storage")
        strides = [step * values.itemsize for step in self.strides]
        view = np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides)
        return np.ascontiguousarray(view)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in DTYPES:
            return name
        raise pickle.UnpicklingError(f"it refers to {module}.{name}")

    def persistent_load(self, persistent_id):
        kind, storage_type, key, _, size, view = persistent_id
        if kind != "storage" or storage_type not in DTYPES or view is not None:
            raise pickle.UnpicklingError(f"it has a storage of the form {persistent_id}")
        return key, storage_type, size


def _read(file):
    if _Unpickler(file).load() != MAGIC_NUMBER:
        raise pickle.UnpicklingError("it has another format")
    _Unpickler(file).load()  # version of the format
    _Unpickler(file).load()  # properties of the machine; the format is little-endian
    tensors = _Unpickler(file).load()
    keys = _Unpickler(file).load()
    used = {t.storage[0]: t.storage for t in tensors.values() if isinstance(t, _Tensor)}
    storages = {}
    for key in keys:
        _, storage_type, size = storage = used[key]
        if int.from_bytes(file.read(8), "little") != size:
            raise pickle.UnpicklingError("the size of a storage differs")
        dtype = np.dtype(DTYPES[storage_type])
        data = file.read(size * dtype.itemsize)
        if len(data) < size * dtype.itemsize:
            raise pickle.UnpicklingError("it ends too early")
        storages[storage] = np.frombuffer(io.BytesIO(data).getbuffer(), dtype)
    return {name: tensor.array(storages) for name, tensor in tensors.items()}
