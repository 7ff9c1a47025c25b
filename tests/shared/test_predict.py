"""The client, over a folder and over a stand-in for TF Serving that keeps its JSON rules."""

import base64
import gzip
import http.server
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf

from shared import clients, predict
from shared.clients import Folder, PredictError, Rest, connect


def _spec(dtype, *shape, name):
    return tf.TensorSpec([None, *shape], dtype, name=name)


INPUTS = _spec(tf.string, name="inputs")


class Toy(tf.Module):
    @tf.function(input_signature=[INPUTS])
    def serving_default(self, inputs):
        text = tf.strings.unicode_transcode(inputs, "UTF-8", "UTF-8", errors="replace")
        length = tf.strings.length(text, unit="UTF8_CHAR")
        return {
            "outputs": tf.strings.upper(text, encoding="utf-8"),
            "error": tf.where(length == 0, "nothing to say", ""),
            "length": length,
            "score": tf.cast(length, tf.float32) * 0.1,
        }

    @tf.function(
        input_signature=[
            INPUTS,
            _spec(tf.float32, name="temperature"),
            _spec(tf.int64, name="seed"),
            _spec(tf.bool, name="loud"),
            _spec(tf.string, name="tag"),
        ]
    )
    def generate(self, inputs, temperature, seed, loud, tag):
        text = tf.where(loud, tf.strings.upper(inputs), inputs)
        numbers = [tf.strings.as_string(temperature, precision=2), tf.strings.as_string(seed)]
        return {"outputs": tf.strings.join([tag, text, *numbers], " ")}

    @tf.function(input_signature=[INPUTS])
    def n_best(self, inputs):
        outputs = tf.stack([inputs, inputs + "!", inputs + "?"], axis=1)
        scores = tf.strings.length(outputs)
        return {"outputs": outputs, "scores": -tf.cast(scores, tf.float32) / 3}

    @tf.function(input_signature=[INPUTS])
    def sound(self, inputs):
        wav = tf.strings.join([b"RIFF\xff\x00", inputs])
        wav = tf.where(tf.strings.length(inputs) > 0, wav, "")
        return {"outputs": inputs, "wav_bytes": wav, "pair_bytes": tf.stack([wav, wav], 1)}

    @tf.function(input_signature=[INPUTS])
    def score(self, inputs):
        length = tf.cast(tf.strings.length(inputs), tf.float32)
        return {"score": tf.where(length > 1, tf.math.log(length - 1), np.nan)}

    @tf.function(input_signature=[INPUTS, _spec(tf.float32, 2, name="state")])
    def step(self, inputs, state):
        return {"outputs": inputs, "state": state + 0.5}

    @tf.function(input_signature=[INPUTS])
    def number(self, inputs):
        return {"outputs": inputs, "number": tf.strings.to_number(inputs)}

    @tf.function(input_signature=[INPUTS])
    def parts(self, inputs):
        return {"pair": tf.stack([inputs, inputs], 1), "size": tf.strings.length(inputs)}


NAMES = ["serving_default", "generate", "n_best", "sound", "score", "step", "number", "parts"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Versions 1, 9 and 10, of which 1 and 9 are broken, and what an unfinished export leaves."""
    folder = tmp_path_factory.mktemp("saved_models") / "toy"
    toy = Toy()
    tf.saved_model.save(toy, folder / "10", signatures={name: getattr(toy, name) for name in NAMES})
    for broken in ("1", "9", "11.tmp"):
        (folder / broken).mkdir()
        (folder / broken / "saved_model.pb").write_bytes(b"\xff broken")
    (folder / "12").mkdir()
    return folder


RAW = ("utf-8", "surrogateescape")  # TF Serving writes a string's bytes as they are


def _json(value):
    return json.dumps(value, ensure_ascii=False).encode(*RAW)


class Refused(Exception):
    pass


class Serving(http.server.BaseHTTPRequestHandler):
    """TF Serving's REST API as documented and as in its util/json_tensor.cc."""

    protocol_version = "HTTP/1.1"
    model = None
    requests: ClassVar = []

    def log_message(self, *args):
        pass

    def do_GET(self):
        self._answer(self._metadata)

    def do_POST(self):
        self._answer(self._predict)

    def _answer(self, method):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.requests.append((self.path, body))
        try:
            if not re.match("/v1/models/toy(/versions/10)?[:/]", self.path):
                raise Refused(404, "Servable not found for request: Latest(other)")
            status, reply = 200, _json(method(body))
        except Refused as error:
            status, message = error.args
            escaped = (
                message.encode()
                .decode("latin-1")
                .translate(
                    {c: f"\\{c:o}" for c in range(128, 256)} | {39: "\\'", 34: '\\"', 10: "\\n"}
                )
            )
            reply = f'{{ "error": "{escaped}" }}'.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def _metadata(self, body):
        def info(tensors):
            return {
                name: {
                    "dtype": f"DT_{ {'float32': 'FLOAT'}.get(t.dtype.name, t.dtype.name.upper()) }",
                    "tensor_shape": {
                        "dim": [{"size": str(-1 if n is None else n), "name": ""} for n in t.shape],
                        "unknown_rank": False,
                    },
                    "name": f"{name}:0",
                }
                for name, t in tensors.items()
            }

        init = {"dtype": "DT_INVALID", "name": "NoOp"}
        init["tensor_shape"] = {"dim": [], "unknown_rank": True}
        signatures = {
            "__saved_model_init_op": {"inputs": {}, "outputs": {"__saved_model_init_op": init}}
        }
        for name, function in self.model.signatures.items():
            signatures[name] = {
                "inputs": info(function.structured_input_signature[1]),
                "outputs": info(function.structured_outputs),
                "method_name": "tensorflow/serving/predict",
            }
        return {
            "model_spec": {"name": "toy", "signature_name": "", "version": "10"},
            "metadata": {"signature_def": {"signature_def": signatures}},
        }

    def _predict(self, body):
        request = json.loads(body)
        name = request.get("signature_name", "serving_default")
        if name not in self.model.signatures:
            raise Refused(400, f'Serving signature name: "{name}" not found in signature def')
        function = self.model.signatures[name]
        tensors = {}
        for key, spec in function.structured_input_signature[1].items():
            if key not in request["inputs"]:
                raise Refused(400, f"Missing named input: {key} in 'inputs' object.")
            tensors[key] = tf.constant(self._read(request["inputs"][key]), spec.dtype)
        try:
            answer = function(**tensors)
        except tf.errors.InvalidArgumentError as error:
            raise Refused(400, error.message) from error
        outputs = {key: self._write(key, value.numpy().tolist()) for key, value in answer.items()}
        return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}

    def _read(self, value):
        if isinstance(value, list):
            return [self._read(v) for v in value]
        return base64.b64decode(value["b64"]) if isinstance(value, dict) else value

    def _write(self, name, value):
        if isinstance(value, list):
            return [self._write(name, v) for v in value]
        if isinstance(value, bytes):
            binary = name.endswith("_bytes")
            return {"b64": base64.b64encode(value).decode()} if binary else value.decode(*RAW)
        return value


@pytest.fixture(scope="session")
def server(folder):
    Serving.model = tf.saved_model.load(str(folder / "10"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Serving) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("no_proxy", "127.0.0.1")
            yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(params=["folder", "rest"])
def target(request, folder, server):
    return str(folder) if request.param == "folder" else f"{server}/v1/models/toy"


LOADED = {}


@pytest.fixture
def client(target):
    if target not in LOADED:
        LOADED[target] = connect(target)
    return LOADED[target]


@pytest.fixture
def run(target, client, capsys, monkeypatch):
    """Runs the command line on the target, loaded once; returns (status, stdout, stderr)."""
    monkeypatch.setattr(predict, "connect", lambda *_: client)

    def run(*argv):
        status = predict.main([target, *map(str, argv)])
        return (status, *capsys.readouterr())

    return run


def bad(argv, capsys):
    """Runs a command line that must fail with one line; returns the line."""
    assert predict.main([str(arg) for arg in argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("predict: ")
    assert "Traceback" not in err
    return err


# The library


def test_every_output_by_name(client):
    answer = client.predict("serving_default", ["abc", "čas 早".encode(), ""])
    assert answer["outputs"].tolist() == [b"ABC", "ČAS 早".encode(), b""]
    assert answer["error"].tolist() == [b"", b"", b"nothing to say"]
    assert answer["length"].tolist() == [3, 5, 0]
    assert answer["length"].dtype == np.int32
    np.testing.assert_array_equal(answer["score"], np.float32([3, 5, 0]) * np.float32(0.1))
    assert answer["score"].dtype == np.float32


def test_a_batch_of_none(client):
    answer = client.predict("serving_default", [])
    assert {name: column.shape for name, column in answer.items()} == dict.fromkeys(
        ("outputs", "error", "length", "score"), (0,)
    )


def test_invalid_utf8_reaches_the_model(client):
    answer = client.predict("serving_default", [b"a\xffb", os.fsdecode(b"a\xffb")])
    assert answer["outputs"].tolist() == ["A\ufffdB".encode()] * 2


def test_bytes_come_back_as_they_went(client):
    rows = [b"\xff\0", b"\0", b"a\r\n", "\U0001f3b5".encode()]
    assert client.predict("number", [b"1"])["number"].tolist() == [1.0]
    assert client.predict("step", rows, state=np.zeros([4, 2]))["outputs"].tolist() == rows


def test_params_are_repeated_or_passed_row_by_row(client):
    answer = client.predict(
        "generate", ["a", "b"], temperature=0.5, seed=np.array([3, 4]), loud=True, tag=["x", b"y"]
    )
    assert answer["outputs"].tolist() == [b"x A 0.50 3", b"y B 0.50 4"]


def test_states_pass_through(client):
    state = np.float32([[1, 2], [3, 4]])
    answer = client.predict("step", ["a", "b"], state=state)
    np.testing.assert_array_equal(answer["state"], state + np.float32(0.5))
    assert answer["state"].dtype == np.float32


def test_n_best(client):
    answer = client.predict("n_best", ["a", "b"])
    assert answer["outputs"].tolist() == [[b"a", b"a!", b"a?"], [b"b", b"b!", b"b?"]]
    np.testing.assert_allclose(answer["scores"], [[-1 / 3, -2 / 3, -2 / 3]] * 2, rtol=1e-6)


def test_binary_outputs(client):
    answer = client.predict("sound", ["a", ""])
    assert answer["wav_bytes"].tolist() == [b"RIFF\xff\x00a", b""]
    assert answer["pair_bytes"].shape == (2, 2)


def test_nan_and_infinity(client):
    score = client.predict("score", ["", "ab", "abc"])["score"]
    np.testing.assert_allclose(score, [np.nan, 0, np.log(2)], rtol=1e-6)


def test_signatures(client):
    assert sorted(client.signatures) == sorted(NAMES)
    inputs, outputs = client.signatures["step"]
    assert {k: str(v) for k, v in inputs.items()} == {
        "inputs": "string[batch]",
        "state": "float32[batch, 2]",
    }
    assert sorted(outputs) == ["outputs", "state"]


GENERATE = {"temperature": 1.0, "seed": 1, "loud": False, "tag": ""}


@pytest.mark.parametrize(
    ("signature", "params", "message"),
    [
        ("poem", {}, "no signature 'poem'; .*generate.*serving_default"),
        ("serving_default", {"seed": 1}, "has no 'seed'.* inputs string\\[batch\\]"),
        ("step", {}, "needs state .* float32\\[batch, 2\\]"),
        ("step", {"state": 0.5}, "state is float32\\[batch, 2\\]"),
        ("step", {"state": np.zeros([3, 2])}, "state .* \\(3, 2\\) for 2 inputs"),
        ("generate", {**GENERATE, "seed": 0.5}, "seed is int64\\[batch\\], and not 0.5"),
        ("generate", {**GENERATE, "seed": 2**70}, "seed is int64"),
        ("generate", {**GENERATE, "temperature": "warm"}, "temperature is float32.* 'warm'"),
        ("generate", {**GENERATE, "loud": "2"}, "loud is bool"),
        ("number", {}, "StringToNumberOp could not correctly convert string: a"),
    ],
)
def test_errors_of_a_call(client, signature, params, message):
    with pytest.raises(PredictError, match=message) as caught:
        client.predict(signature, ["a", "b"], **params)
    assert "\n" not in str(caught.value)


def test_one_text_is_not_a_batch(client):
    with pytest.raises(PredictError, match="list of texts"):
        client.predict("serving_default", "text")


def test_the_highest_version_by_number(folder):
    assert Folder(folder).path.name == "10"
    assert Folder(str(folder / "10")).path == folder / "10"


def test_a_model_outside_of_versions(folder, tmp_path):
    shutil.copytree(folder / "10", tmp_path / "model")
    assert Folder(tmp_path / "model").predict("n_best", ["a"])["outputs"].shape == (1, 3)


@pytest.mark.parametrize("form", ["", "/", ":predict", "/metadata", "/versions/10"])
def test_forms_of_an_address(server, form):
    answer = Rest(f"{server}/v1/models/toy{form}").predict("serving_default", ["a"])
    assert answer["outputs"].tolist() == [b"A"]


def test_what_is_sent(server):
    client = connect(f"{server}/v1/models/toy")
    Serving.requests.clear()
    client.predict("step", ["é", b"\xff"], state=np.zeros([2, 2]))
    assert [path for path, _ in Serving.requests] == [
        "/v1/models/toy/metadata",
        "/v1/models/toy:predict",
    ]
    assert json.loads(Serving.requests[1][1]) == {
        "signature_name": "step",
        "inputs": {"inputs": ["é", {"b64": "/w=="}], "state": [[0.0, 0.0], [0.0, 0.0]]},
    }


def test_server_errors_are_read_though_they_are_not_json(server):
    error = b"""{ "error": "\\'caf\\303\\251\\' is \\"bad\\"\\n\\t[[{{node x}}]]" }"""
    assert clients._one_line(clients._server_error(error)) == "'café' is \"bad\""
    assert clients._server_error(b'{"error": "caf\\u00e9"}') == "café"
    assert clients._server_error(b"<html>gone</html>") == "<html>gone</html>"


# The command line


def test_texts_in_order(run):
    assert run("abc", "@@at", "čas") == (0, "ABC\n@AT\nČAS\n", "")


def test_options_may_stand_between_the_texts(run):
    argv = ["a", "--param", "temperature=0.25", "--param", "seed=7", "--signature", "generate"]
    argv += ["--param", "loud=false", "--param", "tag=x=y", "--", "-b"]
    assert run(*argv) == (0, "x=y a 0.25 7\nx=y -b 0.25 7\n", "")


def test_one_text_prints_as_it_is(run):
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


def test_lines_end_at_the_newline_alone(run, tmp_path):
    file = tmp_path / "a.TXT"
    file.write_bytes("a\u2028b\x0bc\r\n\xa0d\n".encode() + b"e\xfff")
    status, out, _ = run(f"@{file}")
    assert (status, out) == (0, "A\u2028B\x0bC\r\n\xa0D\nE\ufffdF\n")


def test_gz_and_stdin(run, tmp_path, monkeypatch):
    file = tmp_path / "a.tsv.gz"
    file.write_bytes(gzip.compress(b"a\tb\nc"))
    for name in ("-", "@-"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x\ny\n")))
        assert run(f"@{file}", name, "z") == (0, "A\tB\nC\nX\nY\nZ\n", "")


def test_other_files_are_one_input(run, tmp_path):
    file = tmp_path / "a.jpg"
    file.write_bytes(b"a\nb\xff\n")
    assert run(f"@{file}") == (0, "A\nB\ufffd\n\n", "")
    _, out, _ = run(f"@{file}", "--format", "jsonl")
    assert json.loads(out)["input"] == f"@{file}"


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


def test_n_best_prints_with_tabs(run):
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


def test_progress_when_asked(run):
    status, out, err = run("a", "b", "--progress")
    assert (status, out) == (0, "A\nB\n")
    assert "2 rows" in err


def test_a_failing_batch_says_which_rows(run, tmp_path):
    file = tmp_path / "lines"
    file.write_text("1\n2\n3\nfour\n5\n")
    status, out, err = run(f"@{file}", "--signature", "number", "--batch-size", 2)
    assert (status, out) == (2, "1\n2\n")
    assert re.match("predict: rows 3-4: .*could not correctly convert string: four\n$", err)


def test_errors_of_inputs(run, client, target, capsys, tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "bad.gz").write_bytes(b"not gzip")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"a" * 1000)[:-9])
    assert "nothing to answer" in bad([target], capsys)
    assert "nothing to answer" in bad([target, f"@{tmp_path}/empty"], capsys)
    assert f"{tmp_path}/none: No such file" in bad([target, "a", f"@{tmp_path}/none"], capsys)
    assert "directory" in bad([target, f"@{tmp_path}"], capsys)
    assert "bad.gz: Not a gzipped file" in bad([target, f"@{tmp_path}/bad.gz"], capsys)
    assert "cut.gz: " in bad([target, f"@{tmp_path}/cut.gz"], capsys)
    assert "no signature 'x'; there are: " in bad([target, "a", "--signature", "x"], capsys)
    assert "has no 'x'" in bad([target, "a", "--param", "x=1"], capsys)
    assert "NAME=VALUE" in bad([target, "a", "--param", "x"], capsys)
    assert "--batch-size" in bad([target, "a", "--batch-size", "0"], capsys)
    line = bad([target, "a", "--signature", "step"], capsys)
    assert "needs state (--param state=...); its inputs: " in line
    assert "float32[batch, 2]" in line


def test_errors_of_folders(folder, capsys, tmp_path):
    assert "no such folder" in bad([tmp_path / "none", "a"], capsys)
    assert "no SavedModel" in bad([tmp_path, "a"], capsys)
    assert "does not load" in bad([folder / "9", "a"], capsys)


def test_errors_of_addresses(server, capsys):
    assert "REST" in bad(["grpc://localhost:8500", "a"], capsys)
    assert "http://HOST:8501/v1/models/NAME" in bad([server, "a"], capsys)
    line = bad([f"{server}/v1/models/other", "a"], capsys)
    assert "/v1/models/other/metadata: HTTP 404: Servable not found" in line
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = bad([f"http://127.0.0.1:{port}/v1/models/toy", "a", "--timeout", "0.1"], capsys)
        assert "cannot reach" in line
        assert "timed out" in line
    line = bad([f"http://127.0.0.1:{port}/v1/models/toy", "a"], capsys)
    assert f"127.0.0.1:{port}" in line
    assert "refused" in line
    assert "MODEL_NAME=toy tensorflow/serving" in line


# In a process of its own

CODE = """
import sys
from shared import clients, predict
try:
    status = predict.main(sys.argv[1:])
except SystemExit as error:
    status = error.code
assert "tensorflow" not in sys.modules
sys.exit(status)
"""


@pytest.mark.parametrize("argv", [["--help"], ["{server}/v1/models/toy", "a"]])
def test_no_tensorflow_without_a_folder(server, argv):
    argv = [arg.format(server=server) for arg in argv]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *argv], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "@photo.jpg" in done.stdout or done.stdout == "A\n"


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
