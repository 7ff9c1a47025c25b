"""Runs requests through a SavedModel as TF Serving does, in a process without the code of this project.

    python -I shared/serving/check_export.py FOLDER REQUESTS ANSWERS

The model is loaded through a TF1 Session, because TF Serving's C++ loader works in the same way. Loading
with TensorFlow 2 proves less: it finds variables that the C++ loader does not find.

REQUESTS is a pickle of {signature: {input: array}}; ANSWERS, which is written, is a pickle of
{signature: {output: array}} with one more key, "latency_ms": the median time of a request with one row.
"""

import pickle
import sys
import time

import tensorflow as tf


def main(folder, requests, answers):
    """Loads the model, runs the requests and writes the answers.

    Args:
        folder: the folder of the SavedModel.
        requests: path of the pickle to read.
        answers: path of the pickle to write.
    """
    with open(requests, "rb") as file:
        requests = pickle.load(file)
    results = {}
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
                    problem = f"{name} is {value.shape}, and not ({rows}, ...)"
                    sys.exit(f"signature {signature}, {rows} rows: {problem}")
            return result

        for signature, request in requests.items():
            results[signature] = answer(signature, request)
            answer(signature, {name: value[:0] for name, value in request.items()})
        single = {name: value[:1] for name, value in requests["serving_default"].items()}
        times = []
        for _ in range(5):
            start = time.perf_counter()
            answer("serving_default", single)
            times.append(1000 * (time.perf_counter() - start))
    with open(answers, "wb") as file:
        pickle.dump({**results, "latency_ms": sorted(times)[2]}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
