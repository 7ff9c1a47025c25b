"""Joins exported models in one SavedModel: the outputs of each model are the inputs of the next.

python -m shared.serving.chain FIRST SECOND [THIRD ...] --name image_to_german
"""

import contextlib
import math
import os
import pathlib
import re
import sys
import types
from typing import Annotated

import tyro

from shared.errors import InputError, reported
from shared.files import read_json
from shared.serving.client import short_message
from shared.serving.clients import SavedModelClient
from shared.serving.wildcards import loadable

APP = "chain"  # `app` in the model card of a chain
# Outputs that a signature must have, as {name: type}.
TEXT = {"outputs": "string[batch]", "error": "string[batch]"}
SCORED = {**TEXT, "score": "float[batch]"}
N_BEST = {
    "outputs": "string[batch, n]",
    "score": "float[batch, n]",
    "count": "int[batch]",
    "error": "string[batch]",
}
MODELS = tyro.conf.arg(metavar="FIRST SECOND [THIRD ...]", help_behavior_hint="")
WEIGHTS = tyro.conf.arg(metavar="W1 W2 [W3 ...]", help_behavior_hint="(default: 1 for each)")


class Part(SavedModelClient):
    """A model of a chain.

    Args:
        path: as for `SavedModelClient`.
        stack: a `contextlib.ExitStack`; before its end, the assets of the model can be copied.

    Attributes:
        path: the folder that was loaded.
        name, version: "toy" and "3" for saved_models/toy/3; the version is None if it has no number.
        card: content of model_card.json; None if there is none.
        model: the loaded SavedModel. It has no signatures, because the chain would save all of them.
        functions: {signature: function}.
        scored: the signature whose answers have scores, for --n-best.

    Raises:
        InputError: there is no SavedModel, or it does not load.
    """

    def __init__(self, path, stack):
        if re.match("[a-z]+://", path):
            raise InputError(f"{path}: a chain joins SavedModel folders, not servers")
        link = stack.enter_context(loadable(path)) if os.path.isdir(path) else path
        super().__init__(link)
        self.path = pathlib.Path(path, self.path.relative_to(link))
        self.model, self.functions = self._model, dict(self._model.signatures)
        del self.model.signatures
        self._model = types.SimpleNamespace(signatures=self.functions)  # for `predict`
        card = self.path / "assets.extra" / "model_card.json"
        self.card = read_json(card) if card.is_file() else None
        folder = pathlib.Path(os.path.abspath(self.path))
        self.version = folder.name if folder.name.isdecimal() else None
        self.name = folder.parent.name if self.version else folder.name
        if self.name == "saved_model" and self.card:  # in the folder of a run
            names = self.card["app"], self.card.get("preset", "default")
            self.name = names[0] if names[1] == "default" else "_".join(names)
        self.scored = "serving_default"

    def require(self, signature, outputs):
        """Checks that a signature takes texts and returns some outputs.

        Args:
            signature: the name of the signature.
            outputs: {name: type}, such as `TEXT`.

        Raises:
            InputError: it does not; the message names what is missing.
        """
        if signature not in self.signatures:
            available = ", ".join(sorted(self.signatures))
            raise InputError(f"{self.path} has no signature {signature}; it has: {available}")
        inputs, found = self.signatures[signature]
        if set(inputs) != {"inputs"} or not _is_of(inputs["inputs"], "string[batch]"):
            raise InputError(
                f"{self.path}: the input of {signature} must be inputs string[batch]. "
                f"Received: {_listed(inputs)}"
            )
        for name, kind in outputs.items():
            if name not in found or not _is_of(found[name], kind):
                raise InputError(
                    f"{self.path}: {signature} must return {name} {kind}. "
                    f"Received: {_listed(found)}"
                )

    def require_scores(self, is_first):
        """Chooses `scored`; raises InputError if no signature returns answers with scores."""
        try:
            if is_first or "n_best" in self.signatures:
                self.scored = "n_best"
                self.require("n_best", N_BEST)
            else:
                self.require("serving_default", SCORED)
        except InputError as error:
            raise InputError(f"--n-best cannot be used: {error}") from None


def _is_of(tensor, kind):
    """Returns whether a `Tensor` is of a type such as "float[batch, n]"."""
    dtype, _, sizes = kind.partition("[")
    shape = tensor.shape or [0]
    is_batch_first = shape[0] is None and len(shape) == sizes.count(",") + 1
    return is_batch_first and tensor.dtype.rstrip("0123456789") == dtype


def _listed(tensors):
    return ", ".join(f"{name} {tensor}" for name, tensor in sorted(tensors.items())) or "nothing"


def load_parts(paths, stack, n_best=False):
    """Loads the models of a chain and checks that they fit together.

    Args:
        paths: list of str, as for `Part`. A path that occurs twice is loaded once.
        stack: a `contextlib.ExitStack`, as for `Part`.
        n_best: whether all answers of each model are used, with their scores.

    Returns:
        list of `Part`.

    Raises:
        InputError: a path has no SavedModel, or it cannot be a part of the chain.
    """
    if len(paths) < 2:
        raise InputError(f"give at least two models to join. Received: {' '.join(paths) or 'none'}")
    loaded = {path: Part(path, stack) for path in dict.fromkeys(paths)}
    parts = [loaded[path] for path in paths]
    for part in parts:
        part.require("serving_default", TEXT)
        if n_best:
            part.require_scores(part is parts[0])
    return parts


def join(paths, base, weights=None):
    """Writes the chain of some models as the next version of the model in `base`.

    Args:
        paths: list of str, folders as for `SavedModelClient`; two or more.
        base: `saved_models/<name>`.
        weights: list of floats, the weights of the scores for `chained.NBestChain`, one for each model;
            None: `chained.Chain`.

    Returns:
        the folder of the new version.

    Raises:
        InputError: a folder has no SavedModel, the models do not fit together, their chain cannot be
            served, or `base` has a model that is not a chain.
    """
    with contextlib.ExitStack() as stack:
        parts = load_parts(paths, stack, n_best=weights is not None)
        # After `load_parts`, which imports TensorFlow without the lines that it prints.
        import tensorflow as tf

        from shared.serving import chained, export

        if export.versions(base) and (app := export.card_of(base)["app"]) != APP:
            raise InputError(f"{base} is a model of {app}, not a chain: choose another --name")
        _note_versions(parts, tf.__version__)
        sample = _sample(parts[0])
        if weights is None:
            server = chained.Chain(parts, sample)
        else:
            server = chained.NBestChain(parts, sample, weights)
        card = _card(parts, pathlib.Path(base).name, weights)
        try:
            answer = server.endpoints["serving_default"](tf.constant(sample))
            if not any(answer[f"outputs_{len(parts) - 1}"].numpy()):
                _note(f"no warm-up request has an answer that reaches {parts[-1].path}")
            return export.promote(lambda folder: export.write(server, folder, card), base)
        except (RuntimeError, tf.errors.OpError) as error:
            names = ", ".join(str(part.path) for part in parts)
            raise InputError(f"{names} cannot be joined: {short_message(error)}") from error


def _sample(part):
    """Returns the inputs with which the chain is checked: those of the warm-up requests of a `Part`."""
    from shared.serving import export

    requests = export.warmup_requests(part.path)
    request = requests.get(part.scored) or requests.get("serving_default")
    if request:
        return request["inputs"]
    _note(f"{part.path} has no warm-up requests: the chain is checked with two texts")
    return export.sample_batch("a text", "")


def _example(folder):
    """Returns an input for `shared.predict`: a text, or a file if the warm-up requests are files."""
    from shared.serving import export

    rows = export.warmup_requests(folder)["serving_default"]["inputs"]
    return "@file" if any(b"\0" in row for row in rows) else '"some text"'


def _card(parts, name, weights):
    """Returns the model card of a chain, a dict for JSON."""
    from shared.training import provenance

    models = [f"{part.name}/{part.version}" if part.version else part.name for part in parts]
    words = ["python -m shared.serving.chain", *models, "--name", name]
    if weights is not None:
        words += ["--n-best", "--weights", *map(str, weights)]
    return {
        "app": APP,
        "models": [{"name": p.name, "version": p.version, "card": p.card} for p in parts],
        "weights": weights,
        "command": " ".join(words),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(),
        "commit": provenance.commit(),
    }


def _note_versions(parts, version):
    """Reports models that another version of TensorFlow has saved."""
    found = {part.path: part.model.tensorflow_version for part in parts}
    if set(found.values()) != {version}:
        saved = ", ".join(f"{path} by TensorFlow {v}" for path, v in found.items())
        _note(f"the models were saved by different versions: {saved}; the chain by {version}")


def _note(text):
    print(f"note: {text}", file=sys.stderr)


@reported
def main(argv=None):
    """Joins exported models, and writes the chain as the next version of its name."""

    def command(
        models: Annotated[tuple[str, ...], tyro.conf.Positional, MODELS],
        name: str,
        to: pathlib.Path = pathlib.Path("saved_models"),
        n_best: bool = False,
        weights: Annotated[tuple[float, ...], WEIGHTS] = (),
    ):
        """Join exported models in one SavedModel: the outputs of each model are the inputs of the next.

        Args:
            models: two or more folders: saved_models/<name>, or a version in it
            name: name of the chain
            to: folder of all models
            n_best: send all of the n best answers on, and choose by the weighted sum of all scores
            weights: with --n-best, the weight of the scores of each model
        """
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
            raise InputError(
                "--name is a part of the server's address: letters, digits, _, - and ., not at the "
                f"start - or . Received: {name!r}"
            )
        if weights and not n_best:
            raise InputError("--weights needs --n-best: otherwise no scores are added")
        if weights and len(weights) != len(models):
            raise InputError(
                f"--weights needs one number for each of the {len(models)} models. "
                f"Received: {len(weights)}"
            )
        if not all(math.isfinite(w) and w >= 0 for w in weights):
            raise InputError(f"--weights must be finite and at least 0. Received: {weights}")
        chosen = list(weights or [1.0] * len(models)) if n_best else None
        os.environ["KERAS_BACKEND"] = "tensorflow"  # Keras is imported, and another may be missing
        folder = join(models, to / name, chosen)
        print(f"{folder}\nnext: python -m shared.predict {to / name} {_example(folder)}")

    tyro.cli(command, prog="python -m shared.serving.chain", args=argv)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # hide TensorFlow's log messages
    main()
