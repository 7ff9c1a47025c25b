"""The interface of the clients of exported models."""

import re
from typing import Any

import numpy as np

from shared.errors import PredictError
from shared.serving import tensors
from shared.serving.tensors import Tensor, to_column


class Client:
    """Base class of the clients.

    Attributes:
        signatures: {name: (inputs, outputs)}, each {name: Tensor}.
    """

    signatures: dict[str, tuple[dict[str, Tensor], dict[str, Tensor]]]

    def check(self, signature: str, names) -> dict[str, Tensor]:
        """Checks the names of the inputs of a request.

        Args:
            signature: the name of the signature.
            names: the names of the inputs, `inputs` included.

        Returns:
            the inputs of the signature, {name: Tensor}.

        Raises:
            PredictError: the signature does not exist, or its inputs have other names.
        """
        if signature not in self.signatures:
            available = ", ".join(sorted(self.signatures))
            raise PredictError(f"no signature {signature!r}; the model has: {available}")
        inputs = self.signatures[signature][0]
        for name in sorted(set(names) ^ set(inputs)):
            available = ", ".join(f"{key} {tensor}" for key, tensor in inputs.items())
            needed = name in inputs
            problem = f"needs {name} (--param {name}=...)" if needed else f"has no input {name!r}"
            raise PredictError(f"signature {signature} {problem}; its inputs: {available}")
        return inputs

    def predict(
        self, signature: str, inputs: list[str | bytes], **params: Any
    ) -> dict[str, np.ndarray]:
        """Runs one batch of any size through a signature.

        Args:
            signature: the name of the signature.
            inputs: the values of its input `inputs`.
            **params: its other inputs, each one value for all rows or an array with one value per row.

        Returns:
            {output: array}; the first dimension is the batch. Strings are bytes objects.

        Raises:
            PredictError: the signature or an input does not exist, is missing or has a wrong type or
                shape; the model fails; the server refuses the request or cannot be reached.
        """
        _check_list(inputs)
        columns = {"inputs": inputs, **params}
        columns = {
            name: _broadcast(name, columns[name], tensor, len(inputs))
            for name, tensor in self.check(signature, columns).items()
        }
        try:
            outputs = self._call(signature, columns)
        except PredictError:
            raise
        except Exception as error:  # TensorFlow raises many types of exception
            raise PredictError(f"{signature} failed: {short_message(error)}") from error
        for name, column in outputs.items():
            if column.shape[:1] != (len(inputs),):
                raise PredictError(f"output {name}: shape {column.shape} for {len(inputs)} inputs")
        return outputs

    def predict_all(
        self,
        signature: str,
        inputs: list[str | bytes],
        batch_size: int = 32,
        description: str | None = None,
        **params: Any,
    ) -> dict[str, list]:
        """Runs many inputs through a signature, in batches of similar length, with a progress bar.

        Args:
            signature: the name of the signature.
            inputs: the values of its input `inputs`. A lazy sequence is read twice, for the lengths
                and batch by batch.
            batch_size: number of inputs per request.
            description: text of the progress bar; None shows the signature.
            **params: as for `predict`; an array has one value per input.

        Returns:
            {output: list with one value per input, in the order of `inputs`}: str, or bytes for
            outputs named *_bytes; numbers for outputs of shape (batch,); arrays for all others, whose
            sizes may differ between batches.

        Raises:
            PredictError: as `predict`.
        """
        from tqdm import tqdm  # imported here because `predict` does not need it

        _check_list(inputs)
        types = self.check(signature, {"inputs", *params})
        params = {
            name: _broadcast(name, value, types[name], len(inputs))
            for name, value in params.items()
        }
        lengths = []
        for row, value in enumerate(inputs):
            tensors.to_bytes(value, f"inputs[{row}]")  # checked before the first request
            lengths.append(len(value))
        order = sorted(range(len(inputs)), key=lengths.__getitem__)  # little padding
        results = {name: [None] * len(inputs) for name in self.signatures[signature][1]}
        starts = range(0, len(order), batch_size)
        for start in tqdm(starts, desc=description or signature, mininterval=1):
            rows = order[start : start + batch_size]
            batch = {name: column[rows] for name, column in params.items()}
            outputs = self.predict(signature, [inputs[i] for i in rows], **batch)
            for name, column in outputs.items():
                for i, value in zip(rows, tensors.to_rows(name, column), strict=True):
                    results[name][i] = value
        return results


def _check_list(inputs):
    try:
        len(inputs)
        is_list = hasattr(inputs, "__getitem__") and not isinstance(inputs, str | bytes | dict)
    except TypeError:
        is_list = False
    if not is_list:
        received = " ".join(repr(inputs).split())[:200]
        raise PredictError(f"inputs must be a list of texts. Received: {received}")


def _broadcast(name, value, tensor, count):
    """Converts an input to an array with `count` rows; a single value is repeated."""
    column = to_column(name, value, tensor)
    column = column if column.ndim else np.full(count, column)
    if len(column) != count or column.ndim != len(tensor.shape or column.shape):
        raise PredictError(
            f"{name} must be {tensor}; received the shape {column.shape} for {count} inputs"
        )
    return column


def short_message(error):
    """Returns the message of an error in one line, without TensorFlow's description of the graph."""
    text = re.sub("(?s)^Graph execution error:.*<stack traces unavailable>", "", str(error))
    text = re.sub(r"\[\[\{\{.*?\}\}\]\]|\[Op:[^]]*\]", "", text)
    return " ".join(text.split())[:500] or type(error).__name__
