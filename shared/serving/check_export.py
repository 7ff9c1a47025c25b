"""Answers requests with a SavedModel as TF Serving loads it, in a process that has none of our code.

    python -I shared/serving/check_export.py FOLDER REQUESTS ANSWERS

A reload in TensorFlow 2 proves little: it finds variables that the C++ loader, which is TF Serving's,
does not. The TF1 Session path loads as that does. REQUESTS and ANSWERS are pickles of
{signature: {input or output: array}}; ANSWERS also gets "latency_ms", the median of a request with
one row.
"""

import pickle
import sys
import time

import tensorflow as tf


def main(folder, requests, answers):
    """Loads the model, answers, writes."""
    with open(requests, "rb") as file:
        requests = pickle.load(file)
    result = {}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        model = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder)

        def answer(signature, request):
            inputs = model.signature_def[signature].inputs
            outputs = model.signature_def[signature].outputs
            feed = {inputs[name].name: value for name, value in request.items()}
            rows = len(next(iter(request.values())))
            try:
                result = session.run({name: tensor.name for name, tensor in outputs.items()}, feed)
            except tf.errors.OpError as error:
                text = " ".join(error.message.removeprefix("Graph execution error:").split())
                sys.exit(f"signature {signature}, {rows} rows: {text}")
            for name, value in result.items():
                if value.shape[:1] != (rows,):
                    sys.exit(f"signature {signature}, {rows} rows: {name} is {value.shape}")
            return result

        for signature, request in requests.items():
            result[signature] = answer(signature, request)
            answer(signature, {name: value[:0] for name, value in request.items()})
        single = {name: value[:1] for name, value in requests["serving_default"].items()}
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            answer("serving_default", single)
            times.append(1000 * (time.perf_counter() - begin))
    with open(answers, "wb") as file:
        pickle.dump({**result, "latency_ms": sorted(times)[2]}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
