"""Exports a model to a version folder that a server can load: write, check, compare, promote."""

import contextlib
import os
import pathlib
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
from typing import Annotated

import numpy as np
import tensorflow as tf
import tyro
from tensorflow.core.protobuf import saved_model_pb2

from shared.errors import InputError
from shared.files import read_json, write_json
from shared.serving import check_export

# The ops that an exported graph may contain: every TensorFlow and TF Serving binary has a CPU kernel
# for them, and they have no side effects. An op that satisfies this may be added by hand.
OPS = set(
    """
    Const Placeholder PlaceholderWithDefault Identity IdentityN NoOp Assert
    If StatelessIf While StatelessWhile StatelessCase PartitionedCall StatefulPartitionedCall
    VarHandleOp VarIsInitializedOp ReadVariableOp DisableCopyOnRead AssignVariableOp RestoreV2 SaveV2
    MergeV2Checkpoints ShardedFilename

    Add AddV2 AddN Sub Mul RealDiv FloorDiv FloorMod Maximum Minimum Neg Abs Sign Square Sqrt Rsqrt
    SquaredDifference Pow Exp Expm1 Log Log1p Tanh Sigmoid Softplus Relu Relu6 LeakyRelu Elu Erf
    Floor Round Ceil Equal NotEqual Less LessEqual Greater GreaterEqual LogicalAnd LogicalOr LogicalNot
    Select SelectV2 Cast BitwiseOr LeftShift IsFinite IsNan IsInf StopGradient ClipByValue
    MatMul BatchMatMulV2 BatchMatMulV3 Einsum BiasAdd Softmax LogSoftmax
    SparseSoftmaxCrossEntropyWithLogits Conv2D DepthwiseConv2dNative MaxPool AvgPool FusedBatchNormV3

    Shape ShapeN Size Rank Reshape ExpandDims Squeeze Transpose Pack Unpack ConcatV2 Split SplitV
    Slice StridedSlice Pad PadV2 Tile Fill ZerosLike OnesLike Range BroadcastTo BroadcastArgs
    GatherV2 GatherNd ResourceGather ResourceGatherNd ScatterNd TensorScatterUpdate TensorScatterAdd
    Where OneHot ReverseV2 ReverseSequence InvertPermutation
    Sum Mean Prod Max Min Any All ArgMax ArgMin Cumsum Cumprod TopKV2 LowerBound UpperBound
    UnsortedSegmentSum UnsortedSegmentMax UnsortedSegmentMin SegmentSum Unique UniqueV2 Bincount DenseBincount
    TensorListReserve TensorListSetItem TensorListGetItem TensorListStack TensorListFromTensor
    TensorListConcatV2 EmptyTensorList TensorListPushBack TensorListPopBack TensorListLength

    HashTableV2 LookupTableFindV2 LookupTableSizeV2 LookupTableImportV2 InitializeTableV2
    InitializeTableFromTextFileV2 StaticRegexReplace RegexReplace RegexFullMatch StaticRegexFullMatch
    StringSplitV2 StringJoin UnicodeTranscode UnicodeDecodeWithOffsets UnicodeDecode UnicodeEncode
    StringLength StringLower StringUpper StringStrip Substr ReduceJoin UnsortedSegmentJoin AsString
    StringToNumber DecodeBase64
    RaggedTensorToTensor RaggedTensorFromVariant RaggedTensorToVariant RaggedRange RaggedGather

    StatelessRandomUniformV2 StatelessRandomUniformIntV2 StatelessRandomUniformFullIntV2
    StatelessRandomGetKeyCounter
    StatelessRandomGetAlg
    """.split()  # noqa: SIM905 (a list would be a page and a half)
)


def main(package, write, argv=None, example='"some text"'):
    """The command of an app's export.py: checks the model of a finished run and promotes it.

    Args:
        package: package of the app, such as "apps.language_model".
        write: `export.write(run, folder, **card)` of the app.
        argv: list of arguments; None reads those of the process.
        example: an input for the command that is printed at the end, such as '"some text"' or
            "@photo.jpg".

    Raises:
        InputError: there is no finished run of this app.
    """
    from shared.training import runs  # which imports this module

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
        finished = runs.load(run, package)
        base = to / (name or finished.name)
        test = finished.metrics["test"]
        folder = promote(lambda partial: write(finished, partial, test=test), base)
        print(f"{folder}\nnext: python -m shared.predict {base} {example}")

    tyro.cli(command, prog=f"python -m {package}.export", args=argv)


def write(server, folder, card):
    """Writes a SavedModel of `server` to `folder` and checks that it can be served.

    Beside the graph, `assets.extra` gets `model_card.json` and `tf_serving_warmup_requests`, which TF
    Serving runs when it loads the model. Then the graph is searched for `problems`, and a fresh process
    without our code loads the folder through the TF1 Session path, as TF Serving does, and answers
    `server.sample_requests()`. Its answers are compared with those of the model in memory.

    Args:
        server: the `Server` of the app, a `tf.Module` with `endpoints`, {signature: `tf.function`}, and
            `sample_requests()`, {signature: {input: array}}. Tables that the endpoints use are its
            attributes; model variables need not be.
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
    # As attributes, the functions would be traced again.
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
    name, and the rename at the end is atomic.

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
            os.rename(pathlib.Path(partial, "model"), version)
    finally:
        with contextlib.suppress(OSError):  # a folder that is not empty stays
            for folder in (base, *new):
                folder.rmdir()
    return version


@contextlib.contextmanager
def _locked(base):
    """Waits until no other export works in `base`: this one would remove its incomplete version."""
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        yield
        return
    handle = os.open(base, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def versions(base):
    """Returns the names of the version folders in `base`."""
    return [p.name for p in pathlib.Path(base).glob("*") if p.is_dir() and p.name.isdecimal()]


def problems(folder):
    """Returns what would keep a SavedModel from being served: a list of sentences, empty if nothing.

    Problems are: an op outside `OPS`; a function that XLA must compile, which TF Serving refuses at the
    first request; an absolute path; an input or output whose first dimension is not a free batch.
    """
    content = pathlib.Path(folder, "saved_model.pb").read_bytes()
    proto = saved_model_pb2.SavedModel.FromString(content)
    defects, strings = [], set()
    for graph in proto.meta_graphs:
        functions = graph.graph_def.library.function
        nodes = [*graph.graph_def.node, *(n for f in functions for n in f.node_def)]
        strings |= {a.s.decode(errors="replace") for n in nodes for a in n.attr.values()}
        constants = [n.attr["value"].tensor for n in nodes if n.op == "Const"]
        strings |= {s.decode(errors="replace") for t in constants for s in t.string_val}
        unknown = sorted({n.op for n in nodes} - OPS - {f.signature.name for f in functions})
        if unknown:
            defects.append(f"ops that are not on the list: {', '.join(unknown)}")
        compiled = [*functions, *nodes]
        if any(x.attr["_XlaMustCompile"].b for x in compiled if "_XlaMustCompile" in x.attr):
            defects.append("a function is marked _XlaMustCompile")
        for name, signature in graph.signature_def.items():
            if name.startswith("__"):
                continue
            for key, tensor in [*signature.inputs.items(), *signature.outputs.items()]:
                shape = tensor.tensor_shape
                if shape.unknown_rank or not shape.dim or shape.dim[0].size != -1:
                    defects.append(f"{name}.{key} is not batch-first")
    # Only strings can be paths: names of nodes contain slashes too.
    here = (os.getcwd(), os.path.expanduser("~"), tempfile.gettempdir(), sys.prefix)
    folders = "|".join(re.escape(path) for path in here if len(path) > 1)
    absolute = re.compile(rf"(?:^|(?<=_))/\w[^/]*/.*|(?<![\w./-])(?:{folders})(?![\w.-]).*")
    leaks = sorted({m[0] for m in map(absolute.search, strings) if m})
    if leaks:
        defects.append(f"the graph names folders of this machine: {', '.join(leaks)}")
    return defects


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
    with tempfile.TemporaryDirectory() as scratch:
        names = [os.path.join(scratch, name) for name in ("requests", "answers")]
        with open(names[0], "wb") as file:
            pickle.dump(requests, file)
        command = [sys.executable, "-I", check_export.__file__, str(folder), *names]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        if process.returncode:
            last = (process.stderr.strip().splitlines() or ["the process was killed"])[-1]
            raise RuntimeError(f"the export does not run in a fresh process: {last}")
        with open(names[1], "rb") as file:
            return pickle.load(file)


def _compare(name, expected, answer):
    if expected.dtype.kind != "f":
        same = expected.tolist() == answer.tolist()
    else:
        close = {"rtol": 1e-4, "atol": 1e-4}
        same = expected.shape == answer.shape and np.allclose(expected, answer, **close)
    if not same:
        raise RuntimeError(f"{name} differs between the model in memory and the export")


def _tensors(request):
    return {name: tf.constant(value) for name, value in request.items()}


def _write_warmup(requests, folder):
    from tensorflow_serving.apis import prediction_log_pb2

    extra = folder / "assets.extra"
    extra.mkdir()
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        for signature, request in requests.items():
            log = prediction_log_pb2.PredictionLog()
            predict = log.predict_log.request
            predict.model_spec.signature_name = signature
            for name, value in request.items():
                predict.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            writer.write(log.SerializeToString())
