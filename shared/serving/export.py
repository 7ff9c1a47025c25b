"""Exports a model to a version folder that a server can load: write, check, compare, rename."""

import contextlib
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import tempfile
from typing import Annotated

import numpy as np
import tensorflow as tf
import tyro
from google.protobuf.message import DecodeError

from shared.errors import InputError
from shared.files import lock, read_json, replace, write_json
from shared.serving import check_export
from shared.serving.problems import problems
from shared.serving.wildcards import loadable
from shared.training import run_folder

WARMUP = "assets.extra/tf_serving_warmup_requests"  # where TF Serving looks for them


def main(package, write, argv=None, example='"some text"'):
    """The command of an app's export.py: exports the best model of a finished run as the next version.

    Args:
        package: package of the app, such as "apps.language_model".
        write: `export.write(run, folder, **card)` of the app.
        argv: list of arguments; None reads those of the process.
        example: an input for the command that is printed at the end, such as '"some text"' or
            "@photo.jpg".

    Raises:
        InputError: there is no finished run of this app.
    """

    def command(
        run: Annotated[pathlib.Path, tyro.conf.Positional],
        name: str = "",
        to: pathlib.Path = pathlib.Path("saved_models"),
    ):
        """Export a finished run.

        Args:
            run: folder of the run
            name: name of the model [default: <app>, or <app>_<preset>]
            to: folder of all models
        """
        finished = run_folder.load(run, package)
        base = to / (name or finished.name)
        test = finished.metrics["test"]
        folder = promote(lambda partial: write(finished, partial, test=test), base)
        print(f"{folder}\nnext: python -m shared.predict {base} {example}")

    tyro.cli(command, prog=f"python -m {package}.export", args=argv)


def write(server, folder, card):
    """Writes a SavedModel of `server` to `folder` and checks that it can be served.

    Beside the graph, `assets.extra` gets `model_card.json` and `tf_serving_warmup_requests`, which TF
    Serving runs when it loads the model, row by row. Then the graph is searched for `problems`, and a
    fresh process without our code loads the folder through the TF1 Session path, as TF Serving does, and
    answers `server.sample_requests()`. Its answers are compared with those of the model in memory, and
    must be finite.

    Args:
        server: the `Server` of the app, a `tf.Module` with `endpoints`, {signature: `tf.function`}, and
            `sample_requests()`, {signature: {input: array}}. Lookup tables must be
            attributes of the server; model variables are added.
        folder: a folder that does not exist.
        card: the model card, a dict for JSON.

    Raises:
        RuntimeError: the export has a defect, which the message names.
    """
    folder = pathlib.Path(folder)
    save(server, folder)
    requests = server.sample_requests()
    _write_warmup(requests, folder)
    defects = problems(folder)
    if defects:
        raise RuntimeError(f"the export cannot be served: {'; '.join(defects)}")
    expected = {
        name: {key: t.numpy() for key, t in fn(**_tensors(requests[name])).items()}
        for name, fn in server.endpoints.items()
    }
    answers = _answers_of_a_fresh_process(folder, requests)
    latency = answers.pop("latency_ms")
    for name, outputs in expected.items():
        for key in outputs:
            _compare(f"{name}.{key}", outputs[key], answers[name][key])
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    card = {**card, "megabytes": round(size / 1e6, 2), "latency_ms": round(latency, 2)}
    write_json(folder / "assets.extra" / "model_card.json", card)


def save(server, folder):
    """Saves the endpoints of `server` as signatures, with the variables that they use; no checks.

    Args:
        server: as for `write`.
        folder: a folder that does not exist.
    """
    endpoints = server.endpoints
    functions = {name: fn.get_concrete_function() for name, fn in endpoints.items()}
    variables = {v.ref(): v for fn in functions.values() for v in fn.graph.variables}
    # TF Serving does not find variables that belong only to a Keras model; as attributes it finds them,
    # frozen ones too.
    server.variables_of_endpoints = list(variables.values())
    # `tf.saved_model.save` would trace functions that are attributes again.
    del server.endpoints
    try:
        tf.saved_model.save(server, str(folder), signatures=functions)
    finally:
        server.endpoints = endpoints


def sample_batch(*texts):
    """Returns inputs for `sample_requests()`: an array of bytes objects (batch,) of texts or bytes."""
    return np.array([t if isinstance(t, bytes) else t.encode() for t in texts], object)


def promote(make, base):
    """Writes the next version of a model and makes it visible to servers when it is complete.

    A server that watches `base` loads folders whose name is a number. An incomplete version has another
    name, and the rename at the end is atomic, after all files are on the disk.

    Args:
        make: function that writes a SavedModel into the folder that it is given.
        base: `saved_models/<name>`.

    Returns:
        the folder of the new version: `base/1`, or the number after the highest one.
    """
    base = pathlib.Path(base)
    new = [folder for folder in base.parents if not folder.exists()]
    base.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(base), tempfile.TemporaryDirectory(prefix=".partial-", dir=base) as partial:
            for path in set(base.glob(".partial-*")) - {pathlib.Path(partial)}:  # of killed exports
                shutil.rmtree(path, ignore_errors=True)
            make(pathlib.Path(partial, "model"))
            version = base / str(1 + max(map(int, versions(base)), default=0))
            replace(pathlib.Path(partial, "model"), version)
    finally:
        with contextlib.suppress(OSError):  # a folder that is not empty stays
            for folder in (base, *new):
                folder.rmdir()
    return version


@contextlib.contextmanager
def _locked(base):
    """Waits until no other export works in `base`: this one would remove its incomplete version."""
    if os.name == "nt":  # Windows has no such locks, and cannot open a folder
        yield
        return
    handle = os.open(base, os.O_RDONLY)
    try:
        lock(handle, base, wait=True)
        yield
    finally:
        os.close(handle)


def versions(base):
    """Returns the names of the version folders in `base`."""
    return [p.name for p in pathlib.Path(base).glob("*") if p.is_dir() and p.name.isdecimal()]


def card_of(folder, package=None):
    """Reads the model card of a SavedModel.

    Args:
        folder: a version, or the folder that holds versions.
        package: package of the app that the model must belong to; None accepts all.

    Raises:
        InputError: there is no SavedModel of this project, or it belongs to another app.
    """
    folder = pathlib.Path(folder)
    if versions(folder):
        folder = folder / max(versions(folder), key=int)
    path = folder / "assets.extra" / "model_card.json"
    if not path.is_file():
        raise InputError(f"{folder} is not a model exported by this project: it has no {path.name}")
    card = read_json(path)
    if package and card["app"] != package.rpartition(".")[2]:
        raise InputError(f"{folder} is a model of {card['app']}, not of {package}")
    return card


def _answers_of_a_fresh_process(folder, requests):
    with tempfile.TemporaryDirectory() as scratch, loadable(folder) as path:
        names = [os.path.join(scratch, name) for name in ("requests", "answers")]
        with open(names[0], "wb") as file:
            pickle.dump(requests, file)
        command = [sys.executable, "-I", check_export.__file__, path, *names]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        if process.returncode:
            last = (process.stderr.strip().splitlines() or ["the process was killed"])[-1]
            raise RuntimeError(f"the export does not run in a fresh process: {last}")
        with open(names[1], "rb") as file:
            return pickle.load(file)


def _compare(name, expected, answer):
    if expected.dtype.kind == "f" and not np.isfinite(answer).all():
        raise RuntimeError(f"{name} of a sample request is NaN or infinite")
    if expected.dtype.kind != "f":
        same = expected.tolist() == answer.tolist()
    else:
        close = {"rtol": 1e-4, "atol": 1e-4}
        same = expected.shape == answer.shape and np.allclose(expected, answer, **close)
    if not same:
        raise RuntimeError(f"{name} differs between the model in memory and the export")


def _tensors(request):
    return {name: tf.constant(value) for name, value in request.items()}


def warmup_requests(folder):
    """Reads the warm-up requests of a SavedModel.

    Args:
        folder: a version.

    Returns:
        {signature: {input: array}}, the `sample_requests()` of an export of this project; {} if there are
        no warm-up requests.

    Raises:
        InputError: the file is damaged.
    """
    from tensorflow_serving.apis import prediction_log_pb2

    path = pathlib.Path(folder, WARMUP)
    columns = {}
    try:
        records = tf.data.TFRecordDataset(str(path)) if path.is_file() else tf.data.Dataset.range(0)
        for record in records.as_numpy_iterator():
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            inputs = columns.setdefault(request.model_spec.signature_name, {})
            for name, value in request.inputs.items():
                inputs.setdefault(name, []).append(tf.make_ndarray(value))
    except (DecodeError, tf.errors.OpError) as error:
        raise InputError(f"{path} is damaged: export the model again") from error
    return {
        signature: {name: np.concatenate(rows) for name, rows in inputs.items()}
        for signature, inputs in columns.items()
    }


def _write_warmup(requests, folder):
    """Writes a record for each row: a server with batching refuses requests above its `max_batch_size`."""
    from tensorflow_serving.apis import prediction_log_pb2

    path = pathlib.Path(folder, WARMUP)
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, request in requests.items():
            for row in range(len(request["inputs"])):
                log = prediction_log_pb2.PredictionLog()
                predict = log.predict_log.request
                predict.model_spec.signature_name = signature
                for name, value in request.items():
                    predict.inputs[name].CopyFrom(tf.make_tensor_proto(value[row : row + 1]))
                writer.write(log.SerializeToString())
