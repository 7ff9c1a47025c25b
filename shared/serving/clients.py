"""Clients of exported models: a SavedModel folder and TF Serving's REST API, with one interface."""

import functools
import http.client
import json
import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from shared.errors import PredictError
from shared.quiet_import import import_tensorflow
from shared.serving import tensors
from shared.serving.tensors import Tensor, each, to_column

DOCKER_HINT = (
    '; start TF Serving: docker run -p 8501:8501 -v "$PWD/saved_models/{0}:/models/{0}"'
    " -e MODEL_NAME={0} tensorflow/serving"
)


class Client:
    """Base class of the clients.

    Attributes:
        signatures: {name: (inputs, outputs)}, each {name: Tensor}.
    """

    signatures: dict[str, tuple[dict[str, Tensor], dict[str, Tensor]]]

    def check(self, signature: str, names) -> dict[str, Tensor]:
        """Checks the names of the inputs of a request.

        Args:
            signature: the name of the signature.
            names: the names of the inputs, `inputs` included.

        Returns:
            the inputs of the signature, {name: Tensor}.

        Raises:
            PredictError: the signature does not exist, or its inputs have other names.
        """
        if signature not in self.signatures:
            available = ", ".join(sorted(self.signatures))
            raise PredictError(f"no signature {signature!r}; the model has: {available}")
        inputs = self.signatures[signature][0]
        for name in sorted(set(names) ^ set(inputs)):
            available = ", ".join(f"{key} {tensor}" for key, tensor in inputs.items())
            needed = name in inputs
            problem = f"needs {name} (--param {name}=...)" if needed else f"has no input {name!r}"
            raise PredictError(f"signature {signature} {problem}; its inputs: {available}")
        return inputs

    def predict(
        self, signature: str, inputs: list[str | bytes], **params: Any
    ) -> dict[str, np.ndarray]:
        """Runs one batch of any size through a signature.

        Args:
            signature: the name of the signature.
            inputs: the values of its input `inputs`.
            **params: its other inputs, each one value for all rows or an array with one value per row.

        Returns:
            {output: array}; the first dimension is the batch. Strings are bytes objects.

        Raises:
            PredictError: the signature or an input does not exist, is missing or has a wrong type or
                shape; the model fails; the server refuses the request or cannot be reached.
        """
        _check_list(inputs)
        columns = {"inputs": inputs, **params}
        columns = {
            name: _broadcast(name, columns[name], tensor, len(inputs))
            for name, tensor in self.check(signature, columns).items()
        }
        try:
            outputs = self._call(signature, columns)
        except PredictError:
            raise
        except Exception as error:  # TensorFlow raises many types of exception
            raise PredictError(f"{signature} failed: {_short_message(error)}") from error
        for name, column in outputs.items():
            if column.shape[:1] != (len(inputs),):
                raise PredictError(f"output {name}: shape {column.shape} for {len(inputs)} inputs")
        return outputs

    def predict_all(
        self,
        signature: str,
        inputs: list[str | bytes],
        batch_size: int = 32,
        description: str | None = None,
        **params: Any,
    ) -> dict[str, list]:
        """Runs many inputs through a signature, in batches of similar length, with a progress bar.

        Args:
            signature: the name of the signature.
            inputs: the values of its input `inputs`. A lazy sequence is read twice, for the lengths
                and batch by batch.
            batch_size: number of inputs per request.
            description: text of the progress bar; None shows the signature.
            **params: as for `predict`; an array has one value per input.

        Returns:
            {output: list with one value per input, in the order of `inputs`}: str, or bytes for
            outputs named *_bytes; numbers for outputs of shape (batch,); arrays for all others, whose
            sizes may differ between batches.

        Raises:
            PredictError: as `predict`.
        """
        from tqdm import tqdm  # imported here because `predict` does not need it

        _check_list(inputs)
        types = self.check(signature, {"inputs", *params})
        params = {
            name: _broadcast(name, value, types[name], len(inputs))
            for name, value in params.items()
        }
        lengths = [len(value) for value in inputs]
        order = sorted(range(len(inputs)), key=lengths.__getitem__)  # little padding
        results = {name: [None] * len(inputs) for name in self.signatures[signature][1]}
        starts = range(0, len(order), batch_size)
        for start in tqdm(starts, desc=description or signature, mininterval=1):
            rows = order[start : start + batch_size]
            batch = {name: column[rows] for name, column in params.items()}
            outputs = self.predict(signature, [inputs[i] for i in rows], **batch)
            for name, column in outputs.items():
                for i, value in zip(rows, tensors.to_rows(name, column), strict=True):
                    results[name][i] = value
        return results


class SavedModelClient(Client):
    """Client of a SavedModel in a folder.

    Args:
        path: the folder of a SavedModel, or a folder of numbered versions, of which the highest is
            loaded.

    Attributes:
        path: the folder that was loaded.

    Raises:
        PredictError: the folder does not exist, has no SavedModel, or the SavedModel does not load.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        if not self.path.is_dir():
            raise PredictError(f"no such folder: {path} (an address begins with http://)")
        if not (self.path / "saved_model.pb").is_file():
            versions = [file.parent for file in self.path.glob("*/saved_model.pb")]
            versions = [version for version in versions if re.fullmatch("[0-9]+", version.name)]
            if not versions:
                raise PredictError(f"no SavedModel in {path} or in numbered folders in it")
            self.path = max(versions, key=lambda version: int(version.name))
        import_tensorflow()  # here: RestClient works without TensorFlow
        import tensorflow as tf

        try:
            # Kept as an attribute because it owns the variables.
            self._model = tf.saved_model.load(str(self.path))
        except Exception as error:  # a damaged file raises many types of exception
            raise PredictError(f"{self.path} does not load: {_short_message(error)}") from error
        self.signatures = {
            name: (
                tensors.from_specs(function.structured_input_signature[1]),
                tensors.from_specs(function.structured_outputs),
            )
            for name, function in self._model.signatures.items()
        }

    def _call(self, signature, columns):
        import tensorflow as tf

        types = self.signatures[signature][0]
        inputs = {name: tf.constant(columns[name], types[name].dtype) for name in types}
        outputs = self._model.signatures[signature](**inputs)
        return {name: value.numpy() for name, value in outputs.items()}


class RestClient(Client):
    """Client of TF Serving's REST API.

    Args:
        address: http://HOST:8501/v1/models/NAME, or a version, http://.../NAME/versions/N.
        timeout: maximum time of a request, in seconds.

    Raises:
        PredictError: the address has another form.
    """

    def __init__(self, address: str, timeout: float = 60.0):
        self.address = re.sub("(:predict|/metadata)?/*$", "", address)
        self.timeout = timeout
        match = re.match("https?://[^/]+/(?:.+/)?v1/models/([^/:]+)", self.address)
        if not match:
            raise PredictError(f"{address} is not of the form http://HOST:8501/v1/models/NAME")
        self.name = match[1]

    @functools.cached_property
    def signatures(self):
        """The signatures, requested from the server at the first use; raises PredictError."""
        reply = self._request("/metadata")
        try:
            signatures = reply["metadata"]["signature_def"]["signature_def"]
            return {
                name: (
                    tensors.from_metadata(signature["inputs"]),
                    tensors.from_metadata(signature["outputs"]),
                )
                for name, signature in signatures.items()
                if name != "__saved_model_init_op"  # internal
            }
        except (AttributeError, KeyError, TypeError) as error:
            raise PredictError(f"{self.address}/metadata is not from TF Serving") from error

    def _call(self, signature, columns):
        inputs = {name: each(tensors.to_json, column).tolist() for name, column in columns.items()}
        reply = self._request(":predict", {"signature_name": signature, "inputs": inputs})
        values = reply["outputs"]
        outputs = {}
        for name, tensor in self.signatures[signature][1].items():
            # TF Serving sends the value without its name if the signature has a single output.
            value = values[name] if isinstance(values, dict) else values
            if tensor.dtype == "string":
                outputs[name] = each(tensors.from_json, np.array(value, object))
            else:
                outputs[name] = np.array(value, tensor.dtype)
        return outputs

    def _request(self, suffix, body=None):
        """Returns the reply to a GET request, or to a POST request if there is a body, from JSON."""
        url = self.address + suffix
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as reply:
                # Python's parser accepts the NaN and Infinity that TF Serving sends.
                return json.loads(reply.read().decode("utf-8", "surrogateescape"))
        except urllib.error.HTTPError as error:
            with error:
                message = _short_message(_server_error(error.read()))
            raise PredictError(f"{url}: HTTP {error.code}: {message}") from error
        except ValueError as error:
            raise PredictError(f"{url} does not reply in JSON: {_short_message(error)}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            refused = isinstance(reason, ConnectionRefusedError)
            hint = DOCKER_HINT.format(self.name) if refused else ""
            raise PredictError(f"cannot reach {url}: {_short_message(reason)}{hint}") from error


def connect(target: str, timeout: float = 60.0) -> Client:
    """Returns the client of a SavedModel folder or of an http(s) address; raises PredictError."""
    if target.startswith("grpc://"):
        raise PredictError(f"gRPC is not supported; use REST: http://HOST:8501/... ({target})")
    if re.match("https?://", target):
        return RestClient(target, timeout)
    return SavedModelClient(target)


def _check_list(inputs):
    if isinstance(inputs, str | bytes):
        raise PredictError("inputs must be a list of texts; received a single text")


def _broadcast(name, value, tensor, count):
    """Converts an input to an array with `count` rows; a single value is repeated."""
    column = to_column(name, value, tensor)
    column = column if column.ndim else np.full(count, column)
    if len(column) != count or column.ndim != len(tensor.shape or column.shape):
        raise PredictError(
            f"{name} must be {tensor}; received the shape {column.shape} for {count} inputs"
        )
    return column


def _server_error(body):
    """Extracts the message from the body of an error reply of TF Serving."""
    try:
        return json.loads(body)["error"]
    except (KeyError, TypeError, ValueError):  # TF Serving escapes as in C: \' is not valid JSON
        match = re.search(rb'"error":\s*"(.*)"\s*}', body, re.DOTALL)
        text = (match[1] if match else body).decode("unicode_escape", "replace")
        return text.encode("latin-1", "replace").decode("utf-8", "replace")


def _short_message(error):
    """Returns the message of an error in one line, without TensorFlow's description of the graph."""
    text = re.sub("(?s)^Graph execution error:.*<stack traces unavailable>", "", str(error))
    text = re.sub(r"\[\[\{\{.*?\}\}\]\]|\[Op:[^]]*\]", "", text)
    return " ".join(text.split())[:500] or type(error).__name__
