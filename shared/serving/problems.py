"""What would keep a SavedModel from being served by TF Serving."""

import os
import pathlib
import re
import sys
import tempfile

from tensorflow.core.protobuf import saved_model_pb2

# The ops that an exported graph may contain: every TensorFlow and TF Serving binary has a CPU kernel
# for them, and they have no side effects. An op that satisfies this may be added by hand.
OPS = set(
    """
    Const Placeholder PlaceholderWithDefault Identity IdentityN NoOp Assert
    If StatelessIf While StatelessWhile StatelessCase PartitionedCall StatefulPartitionedCall
    VarHandleOp VarIsInitializedOp ReadVariableOp DisableCopyOnRead AssignVariableOp RestoreV2 SaveV2
    MergeV2Checkpoints ShardedFilename

    Add AddV2 AddN Sub Mul RealDiv DivNoNan FloorDiv FloorMod Maximum Minimum Neg Abs Sign Square Sqrt Rsqrt
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
    StringToNumber DecodeBase64 DecodeRaw
    RaggedTensorToTensor RaggedTensorFromVariant RaggedTensorToVariant RaggedRange RaggedGather

    DecodeJpeg DecodePng DecodeGif DecodeImage ExtractJpegShape ScaleAndTranslate ResizeBilinear EnsureShape
    TensorSliceDataset MapDataset IgnoreErrorsDataset BatchDatasetV2 OptionsDataset ReduceDataset

    StatelessRandomUniformV2 StatelessRandomUniformIntV2 StatelessRandomUniformFullIntV2
    StatelessRandomGetKeyCounter
    StatelessRandomGetAlg
    """.split()  # noqa: SIM905 (a list would be a page and a half)
)


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
