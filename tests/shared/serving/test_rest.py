"""What only the client of TF Serving has: empty batches, proxies."""

import http.server
import socket
import threading

import numpy as np
import pytest

from shared.errors import PredictError
from shared.serving import clients
from shared.serving.clients import RestClient, SavedModelClient


@pytest.fixture
def rest(server):
    return RestClient(f"{server}/v1/models/toy")


# ---- Empty batches -------------------------------------------------------------------------------


def empty_request(client, signature):
    """Returns the other inputs of a signature for no rows."""
    inputs = {**client.signatures[signature][0]}
    del inputs["inputs"]
    shapes = {name: [0, *tensor.shape[1:]] for name, tensor in inputs.items()}
    return {
        name: np.zeros(shape, object if inputs[name].dtype == "string" else inputs[name].dtype)
        for name, shape in shapes.items()
    }


def test_an_empty_batch_is_answered_as_the_folder_does(rest, folder, signatures, requests):
    local = SavedModelClient(folder)
    for signature in signatures:
        params = empty_request(local, signature)
        expected = local.predict(signature, [], **params)
        answer = rest.predict(signature, [], **params)
        assert answer.keys() == expected.keys()
        for name, column in expected.items():
            assert answer[name].shape == column.shape, (signature, name)
            assert answer[name].dtype == column.dtype, (signature, name)
    assert {path for path, _ in requests} == {"/v1/models/toy/metadata"}


def test_an_empty_batch_is_checked(rest):
    with pytest.raises(PredictError, match="no signature 'poem'"):
        rest.predict("poem", [])
    with pytest.raises(PredictError, match="step needs state"):
        rest.predict("step", [])
    with pytest.raises(PredictError, match=r"state must be .* \(2, 2\) for 0 inputs"):
        rest.predict("step", [], state=np.zeros([2, 2]))


def test_predict_all_of_nothing(rest, requests):
    assert rest.predict_all("n_best", []) == {"outputs": [], "scores": []}
    assert {path for path, _ in requests} == {"/v1/models/toy/metadata"}


# ---- Proxies -------------------------------------------------------------------------------------


@pytest.fixture
def set_proxy(monkeypatch):
    """A function that sets the proxies of the environment."""

    def set_proxy(proxy, no_proxy=""):
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy)
            monkeypatch.setenv(name.upper(), proxy)
        monkeypatch.setenv("no_proxy", no_proxy)

    return set_proxy


@pytest.fixture
def dead_port():
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2", "0.0.0.0"])
def test_a_proxy_is_not_used_for_this_machine(server, host, set_proxy, dead_port):
    set_proxy(f"http://127.0.0.1:{dead_port}")
    address = server.replace("127.0.0.1", host)
    if host in ("127.0.0.2", "0.0.0.0"):  # other systems have only 127.0.0.1
        assert clients._proxy_of(address) is None
        return
    answer = RestClient(f"{address}/v1/models/toy").predict("serving_default", ["a"])
    assert answer["outputs"].tolist() == [b"A"]


@pytest.mark.parametrize(
    ("host", "is_used"),
    [
        ("[::1]:8501", False),
        ("LOCALHOST", False),
        ("a.localhost", False),
        ("127.255.0.1", False),
        ("128.0.0.1", True),
        ("localhost.org", True),
        ("example.com:8501", True),
        ("inside.example.org", False),
    ],
)
def test_the_hosts_of_a_proxy(host, is_used, set_proxy):
    set_proxy("http://proxy:3128", no_proxy="example.org")
    assert clients._proxy_of(f"http://{host}/v1") == ("http://proxy:3128" if is_used else None)
    set_proxy("")
    assert clients._proxy_of(f"http://{host}/v1") is None


def test_an_error_names_the_proxy_without_its_password(set_proxy, dead_port):
    set_proxy(f"http://user:secret@127.0.0.1:{dead_port}")
    with pytest.raises(PredictError) as caught:
        RestClient("http://example.com:8501/v1/models/toy").predict("serving_default", ["a"])
    message = str(caught.value)
    assert message.startswith(
        "cannot reach http://example.com:8501/v1/models/toy/metadata through the proxy "
    )
    assert f"http://127.0.0.1:{dead_port} (http_proxy, no_proxy): " in message
    assert "refused" in message
    assert "secret" not in message
    assert "docker" not in message  # that would not help


@pytest.mark.parametrize("proxy", ["http://", "socks5://127.0.0.1:1"])
def test_a_proxy_that_python_does_not_understand(proxy, set_proxy):
    set_proxy(proxy)
    with pytest.raises(PredictError, match=f"through the proxy {proxy} .*: "):
        RestClient("http://example.com:8501/v1/models/toy").predict("serving_default", ["a"])


@pytest.mark.parametrize(
    ("status", "message"), [(503, "HTTP 503: <html>busy</html>"), (200, "does not reply in JSON")]
)
def test_an_answer_of_the_proxy_itself(status, message, set_proxy):
    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<html>busy</html>")

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        set_proxy(f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(PredictError, match=f"through the proxy http://127.0.0.1:.*{message}"):
            RestClient("http://example.com/v1/models/toy").predict("serving_default", ["a"])
        thread.join()


@pytest.mark.parametrize("address", ["http://[::1/v1/models/toy", "http://:8501/v1/models/toy"])
def test_an_address_without_a_host(address):
    with pytest.raises(PredictError, match="is not of the form"):
        RestClient(address)
