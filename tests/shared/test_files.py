"""Small files: round trips, damaged files, and writes that fail."""

import json

import numpy as np
import pytest

from shared.errors import InputError
from shared.files import partial_path, read_json, read_npz, write_json, write_jsonl, write_npz


def test_json_round_trip(tmp_path):
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


def test_jsonl_has_one_value_per_line(tmp_path):
    rows = [{"a": 1}, {"a": "two\nlines"}]
    write_jsonl(tmp_path / "x.jsonl", iter(rows))
    lines = (tmp_path / "x.jsonl").read_text().split("\n")
    assert [json.loads(line) for line in lines[:-1]] == rows
    assert lines[-1] == ""


def test_invalid_json_is_an_error_with_the_path(tmp_path):
    (tmp_path / "x.json").write_text('{"a": ')
    with pytest.raises(InputError, match=r"x\.json is not valid JSON"):
        read_json(tmp_path / "x.json")


def test_npz_round_trip(tmp_path):
    arrays = {"a": np.arange(3), "b": np.float32(0.5)}
    write_npz(tmp_path / "x.npz", **arrays)
    loaded = read_npz(tmp_path / "x.npz")
    for name, value in arrays.items():
        np.testing.assert_array_equal(loaded[name], value)
        assert loaded[name].dtype == value.dtype
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]


def test_damaged_npz_is_an_error_with_the_path(tmp_path):
    path = tmp_path / "x.npz"
    write_npz(path, a=np.arange(1000))
    complete = path.read_bytes()
    for content in (complete[:500], b"", b"text", complete[:100] + b"\0" * 400 + complete[500:]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"x\.npz is not a valid .npz file"):
            read_npz(path)
    with pytest.raises(InputError, match="No such file"):
        read_npz(tmp_path / "y.npz")


def test_a_partial_file_of_a_killed_process_is_overwritten(tmp_path):
    partial_path(tmp_path / "x.json").write_text("a longer, incomplete file")
    partial_path(tmp_path / "x.npz").write_bytes(b"PK incomplete" * 100)
    write_json(tmp_path / "x.json", 1)
    write_npz(tmp_path / "x.npz", a=np.arange(3))
    assert read_json(tmp_path / "x.json") == 1
    np.testing.assert_array_equal(read_npz(tmp_path / "x.npz")["a"], np.arange(3))
    assert {p.name for p in tmp_path.iterdir()} == {"x.json", "x.npz"}
