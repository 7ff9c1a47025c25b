import json

import numpy as np
import pytest

from shared.errors import InputError
from shared.files import read_json, read_npz, write_json, write_jsonl, write_npz


def test_json_comes_back(tmp_path):
    value = {"a": [1, 0.1, None, "\u6f22\u5b57"], "b": {"c": True}}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    assert "\u6f22\u5b57" in (tmp_path / "x.json").read_text(encoding="utf-8")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "x.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"a": object()})
    assert read_json(tmp_path / "x.json") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_jsonl(tmp_path):
    rows = [{"a": 1}, {"a": "two\nlines"}]
    write_jsonl(tmp_path / "x.jsonl", iter(rows))
    lines = (tmp_path / "x.jsonl").read_text().split("\n")
    assert [json.loads(line) for line in lines[:-1]] == rows
    assert lines[-1] == ""


def test_broken_json_is_named(tmp_path):
    (tmp_path / "x.json").write_text('{"a": ')
    with pytest.raises(InputError, match=r"x\.json is not valid JSON"):
        read_json(tmp_path / "x.json")


def test_arrays_come_back(tmp_path):
    arrays = {"a": np.arange(3), "b": np.float32(0.5)}
    write_npz(tmp_path / "x.npz", **arrays)
    found = read_npz(tmp_path / "x.npz")
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]


def test_broken_arrays_are_named(tmp_path):
    path = tmp_path / "x.npz"
    write_npz(path, a=np.arange(1000))
    whole = path.read_bytes()
    for content in (whole[:500], b"", b"text", whole[:100] + b"\0" * 400 + whole[500:]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"x\.npz is no valid .npz"):
            read_npz(path)
    with pytest.raises(InputError, match="No such file"):
        read_npz(tmp_path / "y.npz")
