"""Times the LSTM of onnxruntime with peepholes; prints the milliseconds of inference for each shape.

python -m benchmarks._onnx_lstm ROUNDS '[[20, 35, 200, 200]]'
"""

import json
import os
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from ._timing import medians


def session(inputs, units):
    """Returns a session of one LSTM node, from x (time, batch, input) to y (time, 1, batch, units)."""
    rng = np.random.default_rng(0)
    shapes = {
        "W": (1, 4 * units, inputs),
        "R": (1, 4 * units, units),
        "B": (1, 8 * units),
        "P": (1, 3 * units),
    }
    weights = [
        numpy_helper.from_array(rng.normal(size=shape).astype("float32") * 0.05, name)
        for name, shape in shapes.items()
    ]
    node = helper.make_node("LSTM", ["x", "W", "R", "B", "", "", "", "P"], ["y"], hidden_size=units)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["time", "batch", inputs])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["time", 1, "batch", units])
    graph = helper.make_graph([node], "lstm", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def main():
    rounds, shapes = map(json.loads, sys.argv[1:])
    times = []
    for batch, steps, inputs, units in shapes:
        run = session(inputs, units).run
        x = np.random.default_rng(1).normal(size=(steps, batch, inputs)).astype("float32")
        times.append(medians({"": lambda run=run, x=x: run(None, {"x": x})}, rounds)[""])
    print(json.dumps(times))


if __name__ == "__main__":
    main()
