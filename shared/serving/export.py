"""From a model in memory to a version folder that a server may load: write, check, compare, promote."""

import contextlib
import os
import pathlib
import pickle
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from shared.errors import InputError
from shared.files import read_json, write_json
from shared.serving import check_export

# What an exported graph may be made of: kernels that every TensorFlow and TF Serving binary has on
# a CPU, without side effects. An op that is missing here and meets that is added by hand.
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
    """.split()  # noqa: SIM905 (as lines it would be a page and a half)
)


def write(server, folder, card):
    """Writes `server` to `folder` and proves that it serves.

    Beside the graph go `assets.extra/model_card.json` and `tf_serving_warmup_requests`, which TF
    Serving plays at load. Then the graph is searched (`problems`), and a fresh process without our
    code answers `server.sample_requests()` from the folder through the TF1 Session path, as TF Serving
    loads; its answers are compared with those of the model in memory.

    Args:
        server: the app's `Server`: `endpoints`, functions by signature, and `requests()`.
        folder: a folder that does not exist.
        card: what a user should know, a dict for JSON.

    Raises:
        RuntimeError: the export has a defect; the message says which.
    """
    folder = pathlib.Path(folder)
    tf.saved_model.save(server, str(folder), signatures=server.endpoints)
    requests = server.sample_requests()
    _write_warmup(requests, folder)
    found = problems(folder)
    if found:
        raise RuntimeError(f"the export cannot be served: {'; '.join(found)}")
    ours = {
        name: {key: t.numpy() for key, t in fn(**_tensors(requests[name])).items()}
        for name, fn in server.endpoints.items()
    }
    theirs = _fresh(folder, requests)
    latency = theirs.pop("latency_ms")
    for name in ours:
        for key in ours[name]:
            _compare(f"{name}.{key}", ours[name][key], theirs[name][key])
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    card = {**card, "megabytes": round(size / 1e6, 2), "latency_ms": round(latency, 2)}
    write_json(folder / "assets.extra" / "model_card.json", card)


def promote(make, base):
    """Lets `make(folder)` build a version, and shows it to servers only when it is whole.

    A server that watches `base` sees folders whose name is a number: the half-made one has another
    name, and a rename is atomic.

    Args:
        make: a function that writes a SavedModel into the folder it is given.
        base: `saved_models/<name>`.

    Returns:
        the new version's folder: `base/1`, or the number after the highest there.
    """
    base = pathlib.Path(base)
    base.mkdir(parents=True, exist_ok=True)
    try:
        with _alone(base), tempfile.TemporaryDirectory(prefix=".half-", dir=base) as half:
            for debris in set(base.glob(".half-*")) - {pathlib.Path(half)}:  # of killed exports
                shutil.rmtree(debris, ignore_errors=True)
            make(pathlib.Path(half, "model"))
            version = base / str(1 + max(map(int, versions(base)), default=0))
            os.rename(pathlib.Path(half, "model"), version)
    finally:
        if not os.listdir(base):
            base.rmdir()  # nothing came of it
    return version


@contextlib.contextmanager
def _alone(base):
    """Waits until no other export works in `base`: it would take its half for debris."""
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        yield
        return
    handle = os.open(base, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def versions(base):
    """The names of the version folders in `base`."""
    return [p.name for p in pathlib.Path(base).glob("*") if p.is_dir() and p.name.isdecimal()]


def problems(folder):
    """What would keep a SavedModel from being served: a list of sentences, empty when all is well.

    An op outside `OPS`; a function that XLA must compile, which TF Serving refuses at the first
    request; an absolute path; an input or output whose first dimension is not a free batch.
    """
    content = pathlib.Path(folder, "saved_model.pb").read_bytes()
    proto = saved_model_pb2.SavedModel.FromString(content)
    found, strings = [], set()
    for graph in proto.meta_graphs:
        functions = graph.graph_def.library.function
        nodes = [*graph.graph_def.node, *(n for f in functions for n in f.node_def)]
        strings |= {a.s.decode(errors="replace") for n in nodes for a in n.attr.values()}
        constants = [n.attr["value"].tensor for n in nodes if n.op == "Const"]
        strings |= {s.decode(errors="replace") for t in constants for s in t.string_val}
        strange = sorted({n.op for n in nodes} - OPS - {f.signature.name for f in functions})
        if strange:
            found.append(f"ops that are not on the list: {', '.join(strange)}")
        compiled = [*functions, *nodes]
        if any(x.attr["_XlaMustCompile"].b for x in compiled if "_XlaMustCompile" in x.attr):
            found.append("a function is marked _XlaMustCompile")
        for name, signature in graph.signature_def.items():
            if name.startswith("__"):
                continue
            for key, tensor in [*signature.inputs.items(), *signature.outputs.items()]:
                shape = tensor.tensor_shape
                if shape.unknown_rank or not shape.dim or shape.dim[0].size != -1:
                    found.append(f"{name}.{key} is not batch-first")
    # Names of nodes are full of slashes: only strings can be paths.
    here = (os.getcwd(), os.path.expanduser("~"), tempfile.gettempdir(), sys.prefix)
    folders = "|".join(re.escape(path) for path in here if len(path) > 1)
    absolute = re.compile(rf"(?:^|(?<=_))/\w[^/]*/.*|(?<![\w./-])(?:{folders})(?![\w.-]).*")
    leaks = sorted({m[0] for m in map(absolute.search, strings) if m})
    if leaks:
        found.append(f"the graph names folders of this machine: {', '.join(leaks)}")
    return found


def card_of(folder, package=None):
    """The model card of a SavedModel, of the app in `package` if that is given.

    Args:
        folder: a version, or the folder that holds versions.
        package: such as "apps.language_model".

    Raises:
        InputError: there is no SavedModel of ours, or it is another app's.
    """
    folder = pathlib.Path(folder)
    if versions(folder):
        folder = folder / max(versions(folder), key=int)
    path = folder / "assets.extra" / "model_card.json"
    if not path.is_file():
        raise InputError(f"{folder}: no model exported by this project (it lacks {path.name})")
    card = read_json(path)
    if package and card["app"] != package.rpartition(".")[2]:
        raise InputError(f"{folder} is a model of {card['app']}, not of {package}")
    return card


def _fresh(folder, requests):
    with tempfile.TemporaryDirectory() as scratch:
        names = [os.path.join(scratch, name) for name in ("requests", "answers")]
        with open(names[0], "wb") as file:
            pickle.dump(requests, file)
        command = [sys.executable, "-I", check_export.__file__, str(folder), *names]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
            raise RuntimeError(f"the export does not run in a fresh process: {last}")
        with open(names[1], "rb") as file:
            return pickle.load(file)


def _compare(name, ours, theirs):
    if ours.dtype.kind != "f":
        same = ours.tolist() == theirs.tolist()
    else:
        same = ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=1e-4, atol=1e-4)
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
