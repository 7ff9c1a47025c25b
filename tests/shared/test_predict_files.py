"""Files, folders and globs as inputs of the command line."""

import gzip
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared import predict


@pytest.fixture
def run(target, client, capsys, monkeypatch):
    """A function that runs the command line; returns (status, stdout, stderr)."""
    monkeypatch.setattr(predict, "connect", lambda *_: client)

    def run(*argv):
        status = predict.main([target, *map(str, argv)])
        return (status, *capsys.readouterr())

    return run


@pytest.fixture
def media(tmp_path):
    """A folder of media files, text files, a hidden file and a subfolder."""
    (tmp_path / "b.jpg").write_bytes(b"b")
    (tmp_path / "a.JPG").write_bytes(b"a\nA")
    (tmp_path / "c.wav.gz").write_bytes(gzip.compress(b"c"))
    (tmp_path / ".hidden.jpg").write_bytes(b"hidden")
    for name in ("lines.txt", "README"):
        (tmp_path / name).write_text("text\n")
    (tmp_path / "lines.tsv.gz").write_bytes(gzip.compress(b"text\n"))
    (tmp_path / "more.jpg").mkdir()
    (tmp_path / "more.jpg" / "d.jpg").write_bytes(b"d")
    (tmp_path / "broken link.jpg").symlink_to("none")
    return tmp_path


def answers(out):
    """Returns (input, output) of each line of jsonl."""
    rows = [json.loads(line) for line in out.splitlines()]
    return [(row["input"], row["outputs"]) for row in rows]


def test_a_folder_is_its_media_files(run, media):
    status, out, err = run(f"@{media}", "--format", "jsonl")
    assert (status, err) == (0, "")
    names = {"a.JPG": "A\nA", "b.jpg": "B", "c.wav.gz": "C"}
    assert answers(out) == [(f"{media}/{name}", text) for name, text in names.items()]
    assert run(f"@{media}/") == (0, "A\\nA\nB\nC\n", "")


def test_a_glob(run, media):
    _, out, _ = run(f"@{media}/*.jpg", "--format", "jsonl")
    assert answers(out) == [(f"{media}/b.jpg", "B")]
    _, out, _ = run(f"@{media}/**/*.[jJ]*", "--format", "jsonl")
    assert answers(out) == [
        (f"{media}/a.JPG", "A\nA"),
        (f"{media}/b.jpg", "B"),
        (f"{media}/more.jpg/d.jpg", "D"),
    ]
    # The lines of text files are inputs, as without a glob.
    assert run(f"@{media}/lines.t*") == (0, "TEXT\nTEXT\n", "")


def test_several_files_folders_and_texts_in_one_request(run, media, client, monkeypatch):
    sizes = []
    call = client._call
    monkeypatch.setattr(client, "_call", lambda s, c: sizes.append(len(c["inputs"])) or call(s, c))
    argv = [
        "text",
        f"@{media}/b.jpg",
        f"@{media}/more.jpg",
        f"@{media}/lines.txt",
        f"@{media}/*.gz",
    ]
    assert run(*argv) == (0, "TEXT\nB\nD\nTEXT\nC\nTEXT\n", "")
    assert sizes == [6]


def test_a_folder_whose_name_is_a_pattern(run, tmp_path):
    (tmp_path / "a[1]").mkdir()
    (tmp_path / "a[1]" / "b.jpg").write_bytes(b"b")
    assert run(f"@{tmp_path}/a[1]", f"@{tmp_path}/a[1]/*.jpg") == (0, "B\nB\n", "")


def test_a_file_whose_name_is_a_pattern(run, tmp_path):
    (tmp_path / "a[1].jpg").write_bytes(b"pattern")
    (tmp_path / "a1.jpg").write_bytes(b"other")
    assert run(f"@{tmp_path}/a[1].jpg") == (0, "PATTERN\n", "")
    os.remove(tmp_path / "a[1].jpg")
    assert run(f"@{tmp_path}/a[1].jpg") == (0, "OTHER\n", "")


def test_a_glob_below_a_folder_whose_name_is_a_pattern(run, tmp_path):
    (tmp_path / "a[1]" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a[1]" / "b" / "c" / "d.jpg").write_bytes(b"d")
    assert run(f"@{tmp_path}/a[1]/**/*.jpg", f"@{tmp_path}/a[1]/?/c/d.*") == (0, "D\nD\n", "")


# ---- Lines or a whole file -----------------------------------------------------------------------

NAMES = ["test.en", "train.zh", "a.cmn", "a.en-US", "a.pt_br", "a.src", "A.EN", "a.md", "a.en.gz"]


@pytest.mark.parametrize("name", NAMES)
def test_a_text_file_with_any_suffix_is_read_by_lines(run, tmp_path, name):
    """Such as those of translations, whose suffixes are languages."""
    content = "\ufeffone\r\ntwo\n".encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert run(f"@{path}") == (0, "ONE\nTWO\n", "")
    assert run(f"@{tmp_path}/?*.*") == (0, "ONE\nTWO\n", "")
    status, out, err = run(f"@{tmp_path}")
    assert (status, out) == (2, "")
    assert "the folder has no files other than text files" in err


@pytest.mark.parametrize("suffix", sorted(predict.MEDIA_SUFFIXES))
def test_a_media_file_is_one_input_by_its_suffix(run, tmp_path, suffix):
    assert suffix in predict.HELP
    path = tmp_path / f"a{suffix.upper()}"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\n")  # also if it could be text
    expected = "\ufeffA\\r\\nB\\n".replace("\\r", "\r")
    assert run(f"@{path}", "text") == (0, f"{expected}\nTEXT\n", "")
    assert run(f"@{tmp_path}", "text") == (0, f"{expected}\nTEXT\n", "")


@pytest.mark.parametrize("name", ["a.raw", "a.unknown", "a.dcm.gz", "a.zip"])
def test_a_file_with_a_zero_byte_is_one_input(run, tmp_path, name):
    content = b"a\n" + bytes(1) + b"b\n"
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    for arg in (tmp_path / name, tmp_path):
        _, out, _ = run(f"@{arg}", "c", "--format", "jsonl", "--signature", "n_best")
        rows = [(row["input"], row["outputs"][0]) for row in map(json.loads, out.splitlines())]
        assert rows == [(f"{tmp_path}/{name}", "a\n\0b\n"), ("c", "c")]


def test_a_pipe_is_read_once(run, tmp_path):
    path = tmp_path / "pipe.en"
    os.mkfifo(path)
    with ThreadPoolExecutor() as pool:
        writing = pool.submit(path.write_bytes, b"a\nb\n")
        assert run(f"@{path}") == (0, "A\nB\n", "")
        writing.result()


def test_files_are_read_batch_by_batch(run, tmp_path, monkeypatch):
    """A file is opened only when its batch is sent: one that is deleted before is an error."""
    for i in range(6):
        (tmp_path / f"{i}.jpg").write_bytes(b"%d" % i)
    predict_ = predict.connect(None).predict

    def delete_and_predict(signature, inputs, **params):
        (tmp_path / "5.jpg").unlink(missing_ok=True)
        return predict_(signature, inputs, **params)

    monkeypatch.setattr(predict.connect(None), "predict", delete_and_predict)
    status, out, err = run(f"@{tmp_path}", "--batch-size", 2)
    assert (status, out) == (2, "0\n1\n2\n3\n")
    assert err == f"predict: @{tmp_path}/5.jpg: No such file or directory\n"


def test_messages_name_the_file(run, media):
    (media / "b.jpg").write_bytes(b"")
    status, out, err = run(f"@{media}")
    assert (status, out) == (1, "A\\nA\n\nC\n")
    assert err == f"row 2 ({media}/b.jpg): error: nothing to say\n"
    status, out, err = run(f"@{media}", "--signature", "number")
    assert (status, out) == (2, "")
    assert err.startswith(f"predict: rows 1-3 ({media}/a.JPG to {media}/c.wav.gz): ")


def test_binary_outputs_are_numbered_by_row(run, media, tmp_path):
    out_dir = tmp_path / "out"
    argv = [f"@{media}/[ab].*", "--signature", "sound", "--out-dir", out_dir, "--format", "jsonl"]
    _, out, _ = run(*argv)
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["input"], row["wav_bytes"]) for row in rows] == [
        (f"{media}/a.JPG", f"{out_dir}/1.wav"),
        (f"{media}/b.jpg", f"{out_dir}/2.wav"),
    ]


def test_a_path_that_is_not_utf8(run, tmp_path):
    with open(os.fsencode(tmp_path) + b"/\xff.jpg", "wb") as file:
        file.write(b"a")
    _, out, _ = run(f"@{tmp_path}", "--format", "jsonl")
    assert answers(out) == [(f"{tmp_path}/\ufffd.jpg", "A")]


def test_the_progress_bar_knows_the_number_of_files(run, media):
    _, _, err = run(f"@{media}", "--progress")
    assert "3/3" in err


@pytest.mark.parametrize(
    ("arg", "message"),
    [
        ("@{}/empty", "the folder has no files other than text files"),
        ("@{}/texts", "the folder has no files other than text files"),
        ("@{}/*.png", "no file matches"),
        ("@{}/t*", "no file matches"),  # only a folder does
        ("@{}/none.jpg", "No such file or directory"),
        ("@", "No such file or directory"),
    ],
)
def test_errors(run, tmp_path, arg, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "lines.txt").write_text("text\n")
    (tmp_path / "texts" / ".hidden.jpg").write_bytes(b"hidden")
    arg = arg.format(tmp_path)
    status, out, err = run("text", arg)
    assert (status, out) == (2, "")
    assert err.startswith(f"predict: {arg}: {message}")
    assert err.count("\n") == 1
