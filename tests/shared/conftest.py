"""A toy model, exported to a folder and behind an imitation of TF Serving's REST API."""

import base64
import http.server
import json
import re
import threading
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf

from shared.serving.clients import connect


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
        score = tf.where(length > 1, tf.math.log(length - 1), np.nan)
        return {"score": tf.where(length == 1, -np.inf, score)}

    @tf.function(input_signature=[INPUTS])
    def scores(self, inputs):
        return {"scores": tf.tile([[-np.inf, np.nan, 0.5]], [tf.size(inputs), 1])}

    @tf.function(input_signature=[INPUTS])
    def grid(self, inputs):
        """Every kind of type and shape; the second dimension is not known, and is 0 for empty texts."""
        length = tf.reduce_max(tf.concat([tf.strings.length(inputs), [0]], 0))
        grid = tf.zeros([tf.size(inputs), length, 2])
        return {
            "float32": grid,
            "int64": tf.cast(grid[..., 0], tf.int64),
            "bool": grid[:, 0:1, 0] > 0,
            "string": tf.strings.as_string(grid),
            "float64": tf.cast(grid, tf.float64),
            "uint8": tf.cast(grid, tf.uint8),
        }

    @tf.function(input_signature=[INPUTS, _spec(tf.float32, 2, name="state")])
    def step(self, inputs, state):
        return {"outputs": inputs, "state": state + 0.5}

    @tf.function(input_signature=[INPUTS])
    def number(self, inputs):
        return {"outputs": inputs, "number": tf.strings.to_number(inputs)}

    @tf.function(input_signature=[INPUTS])
    def parts(self, inputs):
        return {"pair": tf.stack([inputs, inputs], 1), "size": tf.strings.length(inputs)}


NAMES = [
    *(
        "serving_default",
        "generate",
        "n_best",
        "sound",
        "score",
        "scores",
        "step",
        "number",
        "parts",
    ),
    "grid",
]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Versions 1, 9 and 10, of which 1 and 9 are damaged, and the folders of unfinished exports."""
    folder = tmp_path_factory.mktemp("saved_models") / "toy"
    toy = Toy()
    tf.saved_model.save(toy, folder / "10", signatures={name: getattr(toy, name) for name in NAMES})
    for damaged in ("1", "9", "11.tmp"):
        (folder / damaged).mkdir()
        (folder / damaged / "saved_model.pb").write_bytes(b"\xff damaged")
    (folder / "12").mkdir()
    return folder


RAW = ("utf-8", "surrogateescape")  # TF Serving does not check that strings are UTF-8


def _json(value):
    return json.dumps(value, ensure_ascii=False).encode(*RAW)


class RequestError(Exception):
    pass


class ServingHandler(http.server.BaseHTTPRequestHandler):
    """TF Serving's REST API as documented and as implemented in its util/json_tensor.cc."""

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
                raise RequestError(404, "Servable not found for request: Latest(other)")
            status, reply = 200, _json(method(body))
        except RequestError as error:
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
        dtypes = {"float32": "FLOAT", "float64": "DOUBLE"}

        def info(tensors):
            return {
                name: {
                    "dtype": f"DT_{dtypes.get(t.dtype.name, t.dtype.name.upper())}",
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
            raise RequestError(400, f'Serving signature name: "{name}" not found in signature def')
        function = self.model.signatures[name]
        tensors = {}
        for key, spec in function.structured_input_signature[1].items():
            if key not in request["inputs"]:
                raise RequestError(400, f"Missing named input: {key} in 'inputs' object.")
            tensors[key] = tf.constant(self._from_json(request["inputs"][key]), spec.dtype)
        try:
            answer = function(**tensors)
        except tf.errors.InvalidArgumentError as error:
            raise RequestError(400, error.message) from error
        outputs = {key: self._to_json(key, value.numpy().tolist()) for key, value in answer.items()}
        return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}

    def _from_json(self, value):
        if isinstance(value, list):
            return [self._from_json(v) for v in value]
        return base64.b64decode(value["b64"]) if isinstance(value, dict) else value

    def _to_json(self, name, value):
        if isinstance(value, list):
            return [self._to_json(name, v) for v in value]
        if isinstance(value, bytes):
            binary = name.endswith("_bytes")
            return {"b64": base64.b64encode(value).decode()} if binary else value.decode(*RAW)
        return value


@pytest.fixture(scope="session")
def server(folder):
    ServingHandler.model = tf.saved_model.load(str(folder / "10"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), ServingHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(params=["folder", "rest"])
def target(request, folder, server):
    return str(folder) if request.param == "folder" else f"{server}/v1/models/toy"


CLIENTS = {}


@pytest.fixture
def client(target):
    if target not in CLIENTS:
        CLIENTS[target] = connect(target)
    return CLIENTS[target]


@pytest.fixture
def requests():
    """The requests that the server receives from here on, (path, body)."""
    ServingHandler.requests.clear()
    return ServingHandler.requests


@pytest.fixture
def signatures():
    """The names of the signatures of the toy model."""
    return NAMES
