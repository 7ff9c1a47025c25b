"""The command line, with a folder and with an imitation of TF Serving."""

import gzip
import io
import json
import os
import re
import socket
import subprocess
import sys

import pytest

from shared import predict
from shared.data import sources

needs_full_device = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


@pytest.fixture
def run(target, client, capsys, monkeypatch):
    """A function that runs the command line on the target; returns (status, stdout, stderr)."""
    monkeypatch.setattr(predict, "connect", lambda *_: client)

    def run(*argv):
        status = predict.main([target, *map(str, argv)])
        return (status, *capsys.readouterr())

    return run


def error_line(argv, capsys):
    """Runs a command line that must fail with one line on stderr; returns the line."""
    assert predict.main([str(arg) for arg in argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("predict: ")
    assert "Traceback" not in err
    return err


def test_texts_are_answered_in_order(run):
    assert run("abc", "@@at", "čas") == (0, "ABC\n@AT\nČAS\n", "")


def test_options_between_the_texts(run):
    argv = ["a", "--param", "temperature=0.25", "--param", "seed=7", "--signature", "generate"]
    argv += ["--param", "loud=false", "--param", "tag=x=y", "--", "-b"]
    assert run(*argv) == (0, "x=y a 0.25 7\nx=y -b 0.25 7\n", "")


def test_newlines_are_escaped_unless_there_is_one_text(run):
    assert run("a\nb") == (0, "A\nB\n", "")
    assert run("a\nb", "c") == (0, "A\\nB\nC\n", "")


@pytest.mark.parametrize("count", [1, 6, 7, 8])
def test_batches(run, client, monkeypatch, tmp_path, count):
    sizes = []
    call = client._call
    monkeypatch.setattr(client, "_call", lambda s, c: sizes.append(len(c["inputs"])) or call(s, c))
    file = tmp_path / "lines"
    file.write_text("".join(f"line {i}\n" for i in range(count)))
    status, out, err = run(f"@{file}", "--batch-size", 3)
    assert (status, err) == (0, "")
    assert out == "".join(f"LINE {i}\n" for i in range(count))
    assert sizes == [3] * (count // 3) + [count % 3] * (count % 3 > 0)


def test_lines_end_at_newlines_only(run, tmp_path):
    file = tmp_path / "a.TXT"
    file.write_bytes("a\u2028b\x0bc\r\n\xa0d\rd\n".encode() + b"e\xfff")
    status, out, _ = run(f"@{file}")
    assert (status, out) == (0, "A\u2028B\x0bC\n\xa0D\rD\nE\ufffdF\n")


@pytest.mark.parametrize("stdin", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        "a\nb\n",
        "a\r\nb\r\n",
        "\ufeffa\nb",
        "\ufeffa\r\nb\r",
        "\ufeff\ufeffa\n\ufeffb\n",
        "a\r\n\r\n\n",
    ],
)
def test_lines_are_those_of_training(run, tmp_path, monkeypatch, content, stdin):
    """Without a carriage return at their end, and without a byte order mark at the start of the file."""
    file = tmp_path / "lines.txt"
    file.write_bytes(content.encode())
    lines, _ = sources.read_lines([file])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    _, out, _ = run("-" if stdin else f"@{file}", "--format", "jsonl")
    assert [json.loads(line)["input"] for line in out.splitlines()] == lines


def test_a_byte_order_mark_alone_is_an_empty_file(run, tmp_path):
    (tmp_path / "lines.txt").write_bytes(b"\xef\xbb\xbf")
    status, _, err = run(f"@{tmp_path}/lines.txt")
    assert status == 2
    assert "no inputs" in err


def test_gz_and_stdin(run, tmp_path, monkeypatch):
    file = tmp_path / "a.tsv.gz"
    file.write_bytes(gzip.compress(b"a\tb\nc"))
    for name in ("-", "@-"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x\ny\n")))
        assert run(f"@{file}", name, "z") == (0, "A\tB\nC\nX\nY\nZ\n", "")


def test_a_file_that_is_not_text_is_one_input(run, tmp_path):
    file = tmp_path / "a.jpg"
    file.write_bytes(b"a\nb\xff\n")
    assert run(f"@{file}") == (0, "A\nB\ufffd\n\n", "")
    _, out, _ = run(f"@{file}", "--format", "jsonl")
    assert json.loads(out)["input"] == str(file)


def test_errors_of_rows(run, tmp_path):
    file = tmp_path / "lines.txt"
    file.write_text("a\n\nb\n\n")
    status, out, err = run(f"@{file}", "--batch-size", 3)
    assert (status, out) == (1, "A\n\nB\n\n")
    assert err == "row 2: error: nothing to say\nrow 4: error: nothing to say\n"


def test_jsonl(run):
    status, out, err = run("早", "", "--format", "jsonl")
    assert (status, err) == (1, "")
    assert out.splitlines()[0] == (
        '{"input": "早", "error": "", "length": 1, "outputs": "早", "score": 0.1}'
    )
    assert json.loads(out.splitlines()[1])["error"] == "nothing to say"


def test_jsonl_has_null_for_nan_and_infinity(run):
    _, out, _ = run("", "a", "abc", "--signature", "score", "--format", "jsonl")
    values = [json.loads(line, parse_constant=pytest.fail)["score"] for line in out.splitlines()]
    assert values == [None, None, 0.6931472]
    _, out, _ = run("", "--signature", "scores", "--format", "jsonl")
    assert json.loads(out, parse_constant=pytest.fail)["scores"] == [None, None, 0.5]


def test_a_surrogate_on_the_command_line(run):
    assert run("a\udcff") == (0, "A\ufffd\n", "")  # the byte 0xff, as Python represents it
    status, out, err = run("a", "b\ud800")
    assert (status, out) == (2, "")
    assert err == "predict: a text has the lone surrogate U+D800 at position 1: not valid text\n"


def test_n_best_is_separated_by_tabs(run):
    assert run("a", "b", "--signature", "n_best") == (0, "a\ta!\ta?\nb\tb!\tb?\n", "")
    _, out, _ = run("a", "--signature", "n_best", "--format", "jsonl")
    assert json.loads(out)["outputs"] == ["a", "a!", "a?"]


def test_a_signature_without_outputs(run):
    assert run("ab", "abc", "--signature", "score") == (0, "0.0\n0.6931472\n", "")
    assert run("ab", "c", "--signature", "parts") == (0, "ab\tab\t2\nc\tc\t1\n", "")


def test_files_of_binary_outputs(run, tmp_path):
    out_dir = tmp_path / "new" / "folder"
    argv = ["a", "", "c", "--signature", "sound", "--out-dir", out_dir, "--batch-size", 2]
    status, out, err = run(*argv)
    assert (status, out) == (0, "a\n\nc\n")
    assert (out_dir / "3.wav").read_bytes() == b"RIFF\xff\x00c"
    assert sorted(os.listdir(out_dir)) == [
        *("1-0.pair.bin", "1-1.pair.bin", "1.wav"),
        *("3-0.pair.bin", "3-1.pair.bin", "3.wav"),
    ]
    assert f"row 3: wav_bytes: {out_dir / '3.wav'}\n" in err
    _, out, err = run(*argv, "--format", "jsonl")
    assert [json.loads(line)["wav_bytes"] for line in out.splitlines()] == [
        *(str(out_dir / "1.wav"), "", str(out_dir / "3.wav"))
    ]


@needs_full_device
def test_a_full_disk(run, tmp_path):
    (tmp_path / ".1.wav.partial").symlink_to("/dev/full")
    argv = ["a", "--signature", "sound", "--out-dir", tmp_path]
    assert run(*argv) == (2, "", f"predict: {tmp_path}/1.wav: No space left on device\n")


def test_progress_bar(run):
    status, out, err = run("a", "b", "--progress")
    assert (status, out) == (0, "A\nB\n")
    assert "2/2" in err


def test_the_error_of_a_batch_names_its_rows(run, tmp_path):
    file = tmp_path / "lines"
    file.write_text("1\n2\n3\nfour\n5\n")
    status, out, err = run(f"@{file}", "--signature", "number", "--batch-size", 2)
    assert (status, out) == (2, "1\n2\n")
    assert re.match("predict: rows 3-4: .*could not correctly convert string: four\n$", err)


def test_errors_of_inputs(run, client, target, capsys, tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "bad.gz").write_bytes(b"not gzip")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"a" * 1000)[:-9])
    assert "no inputs" in error_line([target], capsys)
    assert "no inputs" in error_line([target, f"@{tmp_path}/empty"], capsys)
    assert f"{tmp_path}/none: No such file" in error_line(
        [target, "a", f"@{tmp_path}/none"], capsys
    )
    assert "bad.gz: Not a gzipped file" in error_line([target, f"@{tmp_path}/bad.gz"], capsys)
    assert "cut.gz: " in error_line([target, f"@{tmp_path}/cut.gz"], capsys)
    assert "no signature 'x'; the model has: generate" in error_line(
        [target, "a", "--signature", "x"], capsys
    )
    assert "has no input 'x'" in error_line([target, "a", "--param", "x=1"], capsys)
    assert "NAME=VALUE" in error_line([target, "a", "--param", "x"], capsys)
    assert "--batch-size" in error_line([target, "a", "--batch-size", "0"], capsys)
    line = error_line([target, "a", "--signature", "step"], capsys)
    assert "needs state (--param state=...); its inputs: " in line
    assert "float32[batch, 2]" in line


def test_errors_of_folders(folder, capsys, tmp_path):
    assert "no such folder" in error_line([tmp_path / "none", "a"], capsys)
    assert "no SavedModel" in error_line([tmp_path, "a"], capsys)
    assert "does not load" in error_line([folder / "9", "a"], capsys)


def test_errors_of_addresses(server, capsys):
    assert "REST" in error_line(["grpc://localhost:8500", "a"], capsys)
    assert "http://HOST:8501/v1/models/NAME" in error_line([server, "a"], capsys)
    line = error_line([f"{server}/v1/models/other", "a"], capsys)
    assert "/v1/models/other/metadata: HTTP 404: Servable not found" in line
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = error_line(
            [f"http://127.0.0.1:{port}/v1/models/toy", "a", "--timeout", "0.1"], capsys
        )
        assert "cannot reach" in line
        assert "timed out" in line
    line = error_line([f"http://127.0.0.1:{port}/v1/models/toy", "a"], capsys)
    assert f"127.0.0.1:{port}" in line
    assert "refused" in line
    assert "MODEL_NAME=toy tensorflow/serving" in line


# In another process

CODE = """
import sys
from shared import predict
from shared.data import sources
from shared.serving import clients
try:
    status = predict.main(sys.argv[1:])
except SystemExit as error:
    status = error.code
assert "tensorflow" not in sys.modules
sys.exit(status)
"""


@pytest.mark.parametrize("argv", [["--help"], ["{server}/v1/models/toy", "a"]])
def test_tensorflow_is_imported_only_for_folders(server, argv):
    argv = [arg.format(server=server) for arg in argv]
    process = subprocess.run(
        [sys.executable, "-c", CODE, *argv], capture_output=True, text=True, timeout=60
    )
    assert (process.returncode, process.stderr) == (0, "")
    assert "@photo.jpg" in process.stdout or process.stdout == "A\n"


def test_broken_pipe(server, tmp_path):
    file = tmp_path / "lines"
    file.write_text("x" * 1000 + "\n")
    file.write_text(file.read_text() * 3000)
    argv = [sys.executable, "-m", "shared.predict", f"{server}/v1/models/toy", f"@{file}"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"X" * 1000 + b"\n"
        process.stdout.close()
        assert process.wait(timeout=60) == 141
        assert process.stderr.read() == b""


@needs_full_device
def test_answers_on_a_full_disk(server):
    argv = [sys.executable, "-m", "shared.predict", f"{server}/v1/models/toy", "a"]
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )
    assert (process.returncode, process.stderr) == (2, "predict: stdout: No space left on device\n")
