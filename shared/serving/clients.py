"""Clients of exported models: a SavedModel folder and TF Serving's REST API, with one interface."""

import functools
import http.client
import ipaddress
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from shared.errors import PredictError
from shared.quiet_import import import_tensorflow
from shared.serving import tensors
from shared.serving.client import Client, short_message
from shared.serving.wildcards import loadable

DOCKER_HINT = (
    '; start TF Serving: docker run -p 8501:8501 -v "$PWD/saved_models/{0}:/models/{0}"'
    " -e MODEL_NAME={0} tensorflow/serving"
)


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
            with loadable(self.path) as folder:
                self._model = tf.saved_model.load(folder)
        except Exception as error:  # a damaged file raises many types of exception
            raise PredictError(f"{self.path} does not load: {short_message(error)}") from error
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
        if not match or not _host_of(address):
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
        types = self.signatures[signature][1]
        if not len(
            columns["inputs"]
        ):  # TF Serving loses the shapes of an empty batch, or does not answer
            return {name: tensors.no_rows(tensor) for name, tensor in types.items()}
        inputs = {
            name: tensors.each(tensors.to_json, column).tolist() for name, column in columns.items()
        }
        reply = self._request(":predict", {"signature_name": signature, "inputs": inputs})
        values = reply["outputs"]
        # TF Serving sends the value without its name if the signature has a single output.
        values = values if isinstance(values, dict) else dict.fromkeys(types, values)
        return {name: tensors.from_json(values[name], tensor) for name, tensor in types.items()}

    def _request(self, suffix, body=None):
        """Returns the reply to a GET request, or to a POST request if there is a body, from JSON."""
        url = self.address + suffix
        proxy = _proxy_of(url)
        place = f"{url} through the proxy {proxy} (http_proxy, no_proxy)" if proxy else url
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        opener = urllib.request.build_opener(*[] if proxy else [urllib.request.ProxyHandler({})])
        try:
            with opener.open(request, timeout=self.timeout) as reply:
                content = reply.read()
        except urllib.error.HTTPError as error:
            with error:
                message = short_message(_server_error(error.read()))
            raise PredictError(f"{place}: HTTP {error.code}: {message}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            refused = isinstance(reason, ConnectionRefusedError) and not proxy
            hint = DOCKER_HINT.format(self.name) if refused else ""
            raise PredictError(f"cannot reach {place}: {short_message(reason)}{hint}") from error
        try:
            # Python's parser accepts the NaN and Infinity that TF Serving sends.
            return json.loads(content.decode("utf-8", "surrogateescape"))
        except ValueError as error:
            raise PredictError(f"{place} does not reply in JSON: {short_message(error)}") from error


def _host_of(url):
    try:
        return urllib.parse.urlsplit(url).hostname
    except ValueError:  # such as http://[::1
        return None


def _proxy_of(url):
    """Returns the proxy that is set for an address, without its password; None for loopback addresses."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or _is_loopback(_host_of(url)) or urllib.request.proxy_bypass(parts.netloc):
        return None
    return re.sub("//[^/]*@", "//", proxy)


def _is_loopback(host):
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def connect(target: str, timeout: float = 60.0) -> Client:
    """Returns the client of a SavedModel folder or of an http(s) address; raises PredictError."""
    if target.startswith("grpc://"):
        raise PredictError(f"gRPC is not supported; use REST: http://HOST:8501/... ({target})")
    if re.match("https?://", target):
        return RestClient(target, timeout)
    return SavedModelClient(target)


def _server_error(body):
    """Extracts the message from the body of an error reply of TF Serving."""
    try:
        return json.loads(body)["error"]
    except (KeyError, TypeError, ValueError):  # TF Serving escapes as in C: \' is not valid JSON
        match = re.search(rb'"error":\s*"(.*)"\s*}', body, re.DOTALL)
        text = (match[1] if match else body).decode("unicode_escape", "replace")
        return text.encode("latin-1", "replace").decode("utf-8", "replace")
