"""Inputs and outputs of signatures: their types, and conversions from and to Python, NumPy and JSON."""

import base64
from typing import NamedTuple

import numpy as np

from shared.errors import PredictError


class Tensor(NamedTuple):
    """Type ("string", "float32", ...) and shape of an input or output; None for unknown dimensions."""

    dtype: str
    shape: list[int | None] | None

    def __str__(self):
        sizes = ["batch", *(n or "?" for n in self.shape[1:])] if self.shape else ["?"]
        return f"{self.dtype}[{', '.join(map(str, sizes))}]"


def from_specs(specs):
    """Converts {name: tf.TensorSpec} to {name: Tensor}."""
    return {k: Tensor(s.dtype.name, s.shape.rank and s.shape.as_list()) for k, s in specs.items()}


def from_metadata(infos):
    """Converts the inputs or outputs of a signature in TF Serving's metadata to {name: Tensor}."""
    tensors, floats = {}, {"float": "float32", "double": "float64", "half": "float16"}
    for name, info in infos.items():
        dtype = info["dtype"].removeprefix("DT_").lower()
        sizes = [int(size["size"]) for size in info["tensor_shape"].get("dim", ())]
        shape = [None if size < 0 else size for size in sizes]
        tensors[name] = Tensor(floats.get(dtype, dtype), shape or None)
    return tensors


def no_rows(tensor):
    """Returns the value of a `Tensor` for an empty batch: an array with 0 rows, of the same type.

    Dimensions that are not known are 0. Strings are bytes objects.
    """
    sizes = [size or 0 for size in (tensor.shape or [None])]
    return np.zeros([0, *sizes[1:]], object if tensor.dtype == "string" else tensor.dtype)


def each(function, array):
    """Applies a Python function to each element.

    Args:
        function: a function of one element.
        array: an array of any shape.

    Returns:
        the results, an array of objects of the same shape.
    """
    return np.asarray(np.frompyfunc(function, 1, 1)(array), object)


def to_bytes(text, name="a text"):
    """Encodes a string as UTF-8; returns bytes unchanged.

    Arguments of the command line that are not valid UTF-8 become the bytes that were typed, because
    Python represents them with the error handler "surrogateescape".

    Args:
        text: str or bytes.
        name: what `text` is, for the error message.

    Raises:
        PredictError: `text` has another type, or a surrogate that does not represent a byte.
    """
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str):
        raise PredictError(f"{name} must be str or bytes. Received: {_short(text)}")
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        character = f"U+{ord(text[error.start]):04X} at position {error.start}"
        raise PredictError(f"{name} has the lone surrogate {character}: not valid text") from None


def to_column(name, value, tensor):
    """Converts the value of an input to an array of the type of its tensor.

    Args:
        name: the name of the input, for the error message.
        value: a value or a (nested) list or array of values: strings or bytes for a string tensor;
            numbers, or their text, for all others.
        tensor: the `Tensor` of the input.

    Returns:
        an array of the tensor's dtype, or of bytes objects if that is "string"; of shape () if `value`
        is a single value.

    Raises:
        PredictError: the conversion is impossible or would change the value.
    """
    if tensor.dtype == "string":
        return _to_strings(name, value)
    try:
        array = np.asarray(value)
        if array.dtype.kind == "O":  # NumPy would convert None to NaN
            array = np.asarray(array.tolist())
        if array.dtype.kind not in "biufUS":
            raise TypeError
        if tensor.dtype == "bool" and array.dtype.kind == "U":  # NumPy converts "false" to True
            return np.asarray({"true": True, "false": False}[str(value).lower()])
        with np.errstate(all="ignore"):
            cast = array.astype(tensor.dtype)
        if array.dtype.kind == "U" or cast.dtype.kind == "f" or np.array_equal(cast, array):
            return cast
    except (KeyError, OverflowError, TypeError, ValueError):
        pass
    raise PredictError(f"{name} must be {tensor}. Received: {_short(value)}")


def _to_strings(name, value):
    """Converts a value or a (nested) list of values to an array of bytes objects."""
    try:
        array = np.asarray(value, object)
    except ValueError:  # arrays whose shapes do not go together
        raise PredictError(f"{name} must be a list of texts. Received: {_short(value)}") from None
    strings = np.empty(array.shape, object)
    for index, text in np.ndenumerate(array):
        strings[index] = to_bytes(text, name + "".join(f"[{i}]" for i in index))
    return strings


def _short(value):
    """Returns the value as text in one line, cut to 200 characters."""
    return " ".join(repr(value).split())[:200]


def to_rows(name, column):
    """Converts one output of a batch to a list with one value per row.

    Args:
        name: the name of the output; strings of outputs named *_bytes stay bytes.
        column: an array whose first dimension is the batch.

    Returns:
        list: str, bytes, int, float or bool if `column` has the shape (batch,), else arrays.
    """
    if column.dtype == object and not name.endswith("_bytes"):
        column = each(lambda data: data.decode("utf-8", "replace"), column)
    return column.tolist() if column.ndim == 1 else list(column)


def to_json(value):
    """Converts a value to JSON as TF Serving requires it: bytes that are not UTF-8 as base64."""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def from_json(value, tensor):
    """Converts an output in TF Serving's JSON to an array.

    Args:
        value: a nested list; binary strings are {"b64": ...}.
        tensor: the `Tensor` of the output.

    Returns:
        an array of the tensor's type; of bytes objects if that is "string".
    """
    if tensor.dtype == "string":
        array = each(_from_json, np.array(value, object))
    else:
        array = np.array(value, tensor.dtype)
    if not array.size and tensor.shape:  # nested lists cannot represent the dimensions after a 0
        missing = [size or 0 for size in tensor.shape[array.ndim :]]
        array = array.reshape([*array.shape, *missing])
    return array


def _from_json(value):
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else to_bytes(value)
