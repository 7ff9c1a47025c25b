"""Clients of exported models: a SavedModel folder, and TF Serving's REST API, with one interface."""

import base64
import functools
import http.client
import json
import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shared.errors import InputError

DOCKER = (
    '; start TF Serving: docker run -p 8501:8501 -v "$PWD/saved_models/{0}:/models/{0}"'
    " -e MODEL_NAME={0} tensorflow/serving"
)


class PredictError(InputError):
    """A request that has no answer; its message is one line for the user."""


class Tensor(NamedTuple):
    """Type ("string", "float32", ...) and shape of an input or output; None where not known."""

    dtype: str
    shape: list[int | None] | None

    def __str__(self):
        sizes = ["batch", *(n or "?" for n in self.shape[1:])] if self.shape else ["?"]
        return f"{self.dtype}[{', '.join(map(str, sizes))}]"


class _Client:
    """`signatures`: the inputs and the outputs of each, {name: ({name: Tensor}, {...})}."""

    def check(self, signature: str, names) -> dict[str, Tensor]:
        """Returns the inputs of `signature`; PredictError unless `names` are just these."""
        if signature not in self.signatures:
            has = ", ".join(sorted(self.signatures))
            raise PredictError(f"no signature {signature!r}; there are: {has}")
        inputs = self.signatures[signature][0]
        for name in sorted(set(names) ^ set(inputs)):
            has = ", ".join(f"{key} {tensor}" for key, tensor in inputs.items())
            what = f"needs {name} (--param {name}=...)" if name in inputs else f"has no {name!r}"
            raise PredictError(f"signature {signature} {what}; its inputs: {has}")
        return inputs

    def predict(
        self, signature: str, inputs: list[str | bytes], **params: Any
    ) -> dict[str, np.ndarray]:
        """Answers one batch, of any size, with every output of the signature.

        `inputs` is the input of that name. A param is one value for all rows, or an array with
        the batch as its first dimension; so is every output. Strings come as `bytes`, in an
        array of objects. Raises PredictError: no such signature or param, one that is missing
        or does not fit, a model that fails, a server that refuses or cannot be reached.
        """
        if isinstance(inputs, str | bytes):
            raise PredictError("inputs is a list of texts, and this is one text")
        columns = {"inputs": inputs, **params}
        for name, tensor in self.check(signature, columns).items():
            column = to_column(name, columns[name], tensor)
            column = column if column.ndim else np.full(len(inputs), column)
            if len(column) != len(inputs) or column.ndim != len(tensor.shape or column.shape):
                raise PredictError(f"{name} is {tensor}: {column.shape} for {len(inputs)} inputs")
            columns[name] = column
        try:
            outputs = self._call(signature, columns)
        except PredictError:
            raise
        except Exception as error:  # TensorFlow's are of almost any type
            raise PredictError(f"{signature} failed: {_message(error)}") from error
        for name, column in outputs.items():
            if column.shape[:1] != (len(inputs),):
                raise PredictError(f"output {name}: {column.shape} for {len(inputs)} inputs")
        return outputs


class SavedModelClient(_Client):
    """A SavedModel: the folder of one, or of versions, of which the highest (`path` says which).

    Raises PredictError: no such folder, no model in it, a model that does not load.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        if not self.path.is_dir():
            raise PredictError(f"no such folder: {path} (an address begins with http://)")
        if not (self.path / "saved_model.pb").is_file():
            found = [file.parent for file in self.path.glob("*/saved_model.pb")]
            found = [version for version in found if re.fullmatch("[0-9]+", version.name)]
            if not found:
                raise PredictError(f"no SavedModel: neither {path}/saved_model.pb nor a version")
            self.path = max(found, key=lambda version: int(version.name))
        import tensorflow as tf  # not above: the client of a server starts without it

        try:
            self._model = tf.saved_model.load(str(self.path))  # kept: it owns the variables
        except Exception as error:  # a broken file shows as almost any type
            raise PredictError(f"{self.path} does not load: {_message(error)}") from error
        self.signatures = {
            name: (_tensors(f.structured_input_signature[1]), _tensors(f.structured_outputs))
            for name, f in self._model.signatures.items()
        }

    def _call(self, signature, columns):
        import tensorflow as tf

        inputs = self.signatures[signature][0]
        tensors = {name: tf.constant(columns[name], inputs[name].dtype) for name in inputs}
        return {k: v.numpy() for k, v in self._model.signatures[signature](**tensors).items()}


class RestClient(_Client):
    """TF Serving's REST API at http://HOST:8501/v1/models/NAME[/versions/N].

    `timeout` is the seconds one request may take. Raises PredictError: not such an address.
    """

    def __init__(self, address: str, timeout: float = 60.0):
        self.address, self.timeout = re.sub("(:predict|/metadata)?/*$", "", address), timeout
        match = re.match("https?://[^/]+/(?:.+/)?v1/models/([^/:]+)", self.address)
        if not match:
            raise PredictError(f"{address}: an address is http://HOST:8501/v1/models/NAME")
        self.name = match[1]

    @functools.cached_property
    def signatures(self):
        """Asked of the server at the first use; raises PredictError."""
        found = self._request("/metadata")
        try:
            found = found["metadata"]["signature_def"]["signature_def"]
            found.pop("__saved_model_init_op", None)  # not for callers
            return {
                name: (_json_tensors(signature["inputs"]), _json_tensors(signature["outputs"]))
                for name, signature in found.items()
            }
        except (AttributeError, KeyError, TypeError) as error:
            raise PredictError(f"{self.address}/metadata is not that of TF Serving") from error

    def _call(self, signature, columns):
        body = {name: each(_to_json, column).tolist() for name, column in columns.items()}
        found = self._request(":predict", {"signature_name": signature, "inputs": body})["outputs"]
        outputs = {}
        for name, tensor in self.signatures[signature][1].items():
            value = found[name] if isinstance(found, dict) else found  # an only output is bare
            string = tensor.dtype == "string"
            outputs[name] = np.array(value, object if string else tensor.dtype)
            outputs[name] = each(_from_json, outputs[name]) if string else outputs[name]
        return outputs

    def _request(self, suffix, body=None):
        url = self.address + suffix
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as reply:
                # json takes the NaN and Infinity that TF Serving sends.
                return json.loads(reply.read().decode("utf-8", "surrogateescape"))
        except urllib.error.HTTPError as error:
            with error:
                message = _message(_server_error(error.read()))
            raise PredictError(f"{url}: HTTP {error.code}: {message}") from error
        except ValueError as error:
            raise PredictError(f"{url} does not answer in JSON: {_message(error)}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            hint = DOCKER.format(self.name) if isinstance(reason, ConnectionRefusedError) else ""
            raise PredictError(f"cannot reach {url}: {_message(reason)}{hint}") from error


def connect(target: str, timeout: float = 60.0) -> SavedModelClient | RestClient:
    """Returns the client of a SavedModel folder or of an http(s) address; raises PredictError."""
    if target.startswith("grpc://"):
        raise PredictError(f"{target}: no gRPC yet, REST is what there is: http://HOST:8501/...")
    return (
        RestClient(target, timeout) if re.match("https?://", target) else SavedModelClient(target)
    )


def _tensors(specs):
    return {k: Tensor(s.dtype.name, s.shape.rank and s.shape.as_list()) for k, s in specs.items()}


def _json_tensors(infos):
    tensors, floats = {}, {"float": "float32", "double": "float64", "half": "float16"}
    for name, info in infos.items():
        dtype = info["dtype"].removeprefix("DT_").lower()
        sizes = [int(size["size"]) for size in info["tensor_shape"].get("dim", ())]
        shape = [None if size < 0 else size for size in sizes]
        tensors[name] = Tensor(floats.get(dtype, dtype), shape or None)
    return tensors


def to_column(name, value, tensor):
    """`value`, which may be a number's text, in the tensor's type, or PredictError."""
    if tensor.dtype == "string":
        return each(to_bytes, np.asarray(value, object))
    try:
        array = np.asarray(value)
        if tensor.dtype == "bool" and array.dtype.kind == "U":  # to NumPy "false" is True
            return np.asarray({"true": True, "false": False}[str(value).lower()])
        with np.errstate(all="ignore"):
            cast = array.astype(tensor.dtype)
        if array.dtype.kind == "U" or cast.dtype.kind == "f" or np.array_equal(cast, array):
            return cast
    except (KeyError, OverflowError, TypeError, ValueError):
        pass
    raise PredictError(f"{name} is {tensor}, and not {_message(repr(value))}")


def each(function, array):
    """`function` of each element, as an array of objects of the same shape."""
    return np.asarray(np.frompyfunc(function, 1, 1)(array), object)


def to_bytes(text):
    """UTF-8 of a text; bytes as they are."""
    # surrogateescape: how Python holds the bytes of an argument that is not UTF-8.
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def _to_json(value):
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _from_json(value):
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else to_bytes(value)


def _server_error(body):
    try:
        return json.loads(body)["error"]
    except (KeyError, TypeError, ValueError):  # TF Serving escapes as C does: \' is not JSON
        found = re.search(rb'"error":\s*"(.*)"\s*}', body, re.DOTALL)
        text = (found[1] if found else body).decode("unicode_escape", "replace")
        return text.encode("latin-1", "replace").decode("utf-8", "replace")


def _message(error):
    """The message alone, without TensorFlow's lines on where in the graph it came up."""
    text = re.sub("(?s)^Graph execution error:.*<stack traces unavailable>", "", str(error))
    text = re.sub(r"\[\[\{\{.*?\}\}\]\]|\[Op:[^]]*\]", "", text)
    return " ".join(text.split())[:500] or type(error).__name__
