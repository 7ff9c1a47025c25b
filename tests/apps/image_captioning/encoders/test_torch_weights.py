"""The reader of PyTorch checkpoints, on files made here without PyTorch."""

import collections
import io
import os
import pickle
import sys
import types

import numpy as np
import pytest

from apps.image_captioning.encoders import torch_weights
from shared.errors import InputError


class Storage:
    def __init__(self, kind, key, values):
        self.kind, self.key, self.values = kind, key, values


class Tensor:
    """Pickled as PyTorch pickles a tensor."""

    def __init__(self, storage, offset, shape, strides):
        self.arguments = (storage, offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        if isinstance(value, Storage):
            kind = getattr(sys.modules["torch"], value.kind)
            return ("storage", kind, value.key, "cpu", len(value.values), None)
        return None


@pytest.fixture(autouse=True)
def fake_torch(monkeypatch):
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage", "HalfStorage", "ComplexFloatStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def rebuild(*_):
        raise AssertionError

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def checkpoint(tensors, storages, magic=torch_weights.MAGIC_NUMBER):
    file = io.BytesIO()
    for value in (magic, 1001, {"little_endian": True}, tensors):
        Pickler(file, 2).dump(value)
    pickle.dump([storage.key for storage in storages], file, 2)
    for storage in storages:
        file.write(len(storage.values).to_bytes(8, "little") + storage.values.tobytes())
    return file.getvalue()


@pytest.fixture
def read(tmp_path):
    def read_content(content):
        path = tmp_path / "model.pth"
        path.write_bytes(content)
        return torch_weights.read(path)

    return read_content


FLOATS = np.arange(12, dtype="<f4")


def test_tensors_of_several_types_shapes_and_strides(read):
    floats = Storage("FloatStorage", "1", FLOATS)
    longs = Storage("LongStorage", "2", np.array([7, -8], "<i8"))
    halves = Storage("HalfStorage", "3", np.array([0.5], "<f2"))
    tensors = {
        "whole": Tensor(floats, 0, (3, 4), (4, 1)),
        "transposed": Tensor(floats, 0, (4, 3), (1, 4)),
        "part": Tensor(floats, 5, (2, 2), (4, 1)),
        "scalar": Tensor(floats, 3, (), ()),
        "longs": Tensor(longs, 0, (2,), (1,)),
        "halves": Tensor(halves, 0, (1,), (1,)),
    }
    result = read(checkpoint(tensors, [floats, longs, halves]))
    assert list(result) == list(tensors)
    np.testing.assert_array_equal(result["whole"], FLOATS.reshape(3, 4))
    np.testing.assert_array_equal(result["transposed"], FLOATS.reshape(3, 4).T)
    np.testing.assert_array_equal(result["part"], [[5, 6], [9, 10]])
    assert result["scalar"] == 3
    assert result["longs"].tolist() == [7, -8]
    assert result["halves"].dtype == np.float16


class Command:
    def __reduce__(self):
        return os.system, ("touch executed",)


class Evaluation:
    def __reduce__(self):
        return eval, ("1 + 1",)


@pytest.mark.parametrize("value", [Command(), Evaluation()])
def test_a_pickle_that_calls_a_function_is_refused(read, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"it refers to "):
        read(checkpoint({"x": value}, []))
    with pytest.raises(InputError, match=r"it refers to "):
        read(pickle.dumps(value))
    assert not (tmp_path / "executed").exists()


def test_a_storage_of_another_type_is_refused(read):
    storage = Storage("ComplexFloatStorage", "1", FLOATS)
    with pytest.raises(InputError, match=r"torch.ComplexFloatStorage"):
        read(checkpoint({"x": Tensor(storage, 0, (1,), (1,))}, [storage]))


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (13,), (1,)), (1, (12,), (1,)), (0, (4, 4), (4, 1)), (-1, (2,), (1,)), (4, (2,), (-1,))],
)
def test_a_tensor_outside_of_its_storage_is_refused(read, offset, shape, strides):
    storage = Storage("FloatStorage", "1", FLOATS)
    with pytest.raises(InputError, match=r"outside of its storage"):
        read(checkpoint({"x": Tensor(storage, offset, shape, strides)}, [storage]))


def test_damaged_files_are_refused(read, tmp_path):
    storage = Storage("FloatStorage", "1", FLOATS)
    content = checkpoint({"x": Tensor(storage, 0, (12,), (1,))}, [storage])
    for length in (0, 1, 30, len(content) // 2, len(content) - 1):
        with pytest.raises(InputError, match=r"is not a PyTorch checkpoint of tensors"):
            read(content[:length])
    with pytest.raises(InputError, match=r"it has another format"):
        read(checkpoint({}, [], magic=5))
    with pytest.raises(InputError, match=r"No such file"):
        torch_weights.read(tmp_path / "missing.pth")
