"""One folder per application; apps never import each other."""

import os
import sys

from shared.quiet_import import import_tensorflow

# Before an app imports Keras: a backend that is not installed would end in a traceback.
_keras = sys.modules.get("keras")
_backend = _keras.config.backend() if _keras else os.environ.get("KERAS_BACKEND") or "tensorflow"
if _backend != "tensorflow":
    print(
        f"error: this project needs the TensorFlow backend of Keras. Received: KERAS_BACKEND={_backend}",
        file=sys.stderr,
    )
    raise SystemExit(2)
os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever keras.json says

import_tensorflow()
