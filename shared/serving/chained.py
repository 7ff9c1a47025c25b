"""The graph of a chain of exported models: the outputs of each model are the inputs of the next."""

import tensorflow as tf

from shared.errors import InputError
from shared.serving import decoding
from shared.text.cleaning import add_error

INPUTS = tf.TensorSpec([None], tf.string, name="inputs")


class _Joined(tf.Module):
    """What both kinds of chains have: the models, and their sample requests."""

    def __init__(self, parts, sample):
        super().__init__()
        # The variables, tables and assets, which are saved. A part that occurs twice is saved once.
        self.models = list({id(part.model): part.model for part in parts}.values())
        # A function hides the parts, which cannot be saved, from tf.Module.
        self._parts = lambda: parts
        self._sample = sample

    def sample_requests(self):
        """Returns a request for each signature, to check an export: {signature: {input: array}}."""
        return {name: {"inputs": self._sample} for name in self.endpoints}


class Chain(_Joined):
    """The signature of a chain of K models.

    serving_default(inputs)
        `outputs`, and all other outputs of the last model under their own names; `outputs_1`, and all other
        outputs of the first model with `_1` at the end (`wav_1_bytes` for `wav_bytes`); with `_2` those of
        the second one, and so on. `error_1` to `error_K` (batch,) are the messages of all models; `error`
        joins them, each after the name of its model.

    A row for which a model returns "" is not sent to the next one: its later outputs are "" and 0, without
    a message, and it costs no time there.

    Args:
        parts: list of the models, each a `shared.serving.chain.Part`.
        sample: bytes array (rows,), the inputs with which the export is checked.

    Raises:
        InputError: two outputs would have the same name.
    """

    def __init__(self, parts, sample):
        super().__init__(parts, sample)
        self._check_names()
        answer = tf.function(self.answer, input_signature=[INPUTS], autograph=False)
        self.endpoints = {"serving_default": answer}

    def answer(self, inputs):
        """The default answer; see the class."""
        parts, columns, texts = self._parts(), {}, inputs
        for k, part in enumerate(parts, 1):
            function = part.functions["serving_default"]
            answer = function(inputs=texts) if k == 1 else ask(function, texts, texts != "")
            columns |= {_column(name, k, len(parts)): value for name, value in answer.items()}
            texts = answer["outputs"]
        return {**columns, "error": joined_error(parts, columns)}

    def _check_names(self):
        parts, names = self._parts(), {"error"}
        for k, part in enumerate(parts, 1):
            for name in part.functions["serving_default"].structured_outputs:
                column = _column(name, k, len(parts))
                if column in names:
                    raise InputError(
                        f"{part.path}: the chain has another output {column!r}. If this model is a chain, "
                        "give the models that it joins instead"
                    )
                names.add(column)


class NBestChain(_Joined):
    """The signatures of a chain of K models that chooses among several answers of each model.

        total(y_1, ..., y_K) = sum_k  w_k * score_k(y_k)        y_k: an answer of model k to y_(k-1)

    Every answer of the first model is sent to the second one, all of theirs to the third one, and so on.
    After each model, the n paths with the highest totals are kept, where n is the number of answers of the
    first model. Among paths with the same last text, the best one is kept.

    serving_default(inputs)
        `outputs`, the last text of the best path; `score`, its total; `outputs_1` to `outputs_(K-1)` and
        `score_1` to `score_K`, the texts and scores along it.
    n_best(inputs)
        the same of the best paths, each (batch, n), with distinct `outputs`, the best first; `count`
        (batch,), their number. Other places are "" and 0.

    `error_1` to `error_K` (batch,) are the messages along the best path; `error` joins them, each after the
    name of its model. A path ends where a model returns "". If all paths of a row end, `outputs` is ""
    and `score` is 0, and the other outputs of `serving_default` are those of the path that was best.

    Args:
        parts: list of the models, each a `shared.serving.chain.Part`, whose signature `scored` is used.
        sample: bytes array (rows,), the inputs with which the export is checked.
        weights: list of floats, w_k.
    """

    def __init__(self, parts, sample, weights):
        super().__init__(parts, sample)
        self._weights = weights
        graph = lambda function: tf.function(  # noqa: E731
            function, input_signature=[INPUTS], autograph=False
        )
        search = graph(self._search)  # one graph for two signatures
        self._searched = lambda inputs: search(inputs)
        self.endpoints = {
            "serving_default": graph(self.answer),
            "n_best": graph(self.n_best),
        }

    def answer(self, inputs):
        """The default answer; see the class."""
        best, _, errors = self._searched(inputs)
        return {**best, **errors}

    def n_best(self, inputs):
        """Several answers of each row; see the class."""
        _, paths, errors = self._searched(inputs)
        return {**paths, **errors}

    def _search(self, inputs):
        """Searches for the best paths through all models.

        Returns:
            the outputs of `serving_default`, those of `n_best`, and the errors, each {name: tensor}.
        """
        parts, batch = self._parts(), tf.shape(inputs)[0]
        texts, exists = inputs[:, tf.newaxis], tf.fill([batch, 1], True)
        total, n, paths, best = tf.zeros([batch, 1]), None, {}, {}
        for k, (part, weight) in enumerate(zip(parts, self._weights, strict=True), 1):
            # 1. Ask the model about the last text of each path.
            answers, scores, is_answer, error = _several(part, texts, exists)  # (batch, paths, m)
            m, width = _size(answers), _size(texts) * _size(answers)
            n = m if n is None else n
            # 2. Extend each path by each of its answers.
            total = tf.repeat(total, m, axis=1) + weight * tf.reshape(scores, [batch, width])
            total = tf.where(tf.reshape(is_answer, [batch, width]), total, float("-inf"))
            paths = {name: tf.repeat(value, m, axis=1) for name, value in paths.items()}
            paths[f"outputs_{k}"] = tf.reshape(answers, [batch, width])
            paths[f"score_{k}"] = tf.reshape(scores, [batch, width])
            paths[f"error_{k}"] = tf.repeat(error, m, axis=1)
            # 3. Keep the n best paths with distinct texts.
            total, order = tf.math.top_k(total, width)
            values = [tf.gather(value, order, batch_dims=1) for value in paths.values()]
            texts = tf.gather(paths[f"outputs_{k}"], order, batch_dims=1)
            texts, total, count, *values = decoding.distinct(texts, total, *values)
            texts, total, count = texts[:, :n], total[:, :n], tf.minimum(count, n)
            paths = {name: value[:, :n] for name, value in zip(paths, values, strict=True)}
            exists = tf.range(_size(texts)) < count[:, tf.newaxis]
            # 4. Keep the best path; where all paths end here, what it was, and the message of this model.
            best[f"error_{k}"] = error[:, 0]
            for name, value in paths.items():
                best[name] = tf.where(count > 0, value[:, 0], best.get(name, value[:, 0]))
        errors = {f"error_{k}": best.pop(f"error_{k}") for k in range(1, len(parts) + 1)}
        errors["error"] = joined_error(parts, errors)
        paths = {name: value for name, value in paths.items() if not name.startswith("error")}
        for answer in (best, paths):
            del answer[f"outputs_{len(parts)}"]
        best |= {"outputs": texts[:, 0], "score": total[:, 0]}
        return best, paths | {"outputs": texts, "score": total, "count": count}, errors


def ask(function, texts, is_asked):
    """Answers some rows of a batch with a signature of a loaded SavedModel.

    Args:
        function: the signature.
        texts: string (rows,).
        is_asked: bool (rows,).

    Returns:
        {output: tensor (rows, ...)}; "" and 0 in the other rows, which are not sent.
    """
    answer = function(inputs=tf.boolean_mask(texts, is_asked))
    rank = tf.cumsum(tf.cast(is_asked, tf.int32))
    # All rows that are not asked get one more row, of zeros, at the end of the answer.
    place = tf.where(is_asked, rank - 1, tf.reduce_sum(tf.cast(is_asked, tf.int32)))

    def spread(value):
        padding = [[0, 1], *[[0, 0]] * (value.shape.rank - 1)]
        return tf.gather(tf.pad(value, padding), place)

    return {name: spread(value) for name, value in answer.items()}


def joined_error(parts, columns):
    """Joins the messages `error_1`, `error_2`, ... of each row, each behind the name of its model."""
    error, names = tf.zeros_like(columns["error_1"]), [part.name for part in parts]
    for k, name in enumerate(names, 1):
        message = columns[f"error_{k}"]
        label = f"{name} ({k})" if names.count(name) > 1 else name
        error = add_error(error, message != "", f"{label}: " + message)
    return error


def _column(name, k, count):
    """Returns the name in the chain of an output of model k of `count`."""
    if k == count and name != "error":
        return name
    stem = name.removesuffix("_bytes")
    return f"{stem}_{k}{name[len(stem) :]}"


def _several(part, texts, exists):
    """Asks a model about several texts of each row.

    Args:
        part: the model.
        texts: string (batch, n).
        exists: bool (batch, n), which texts are sent.

    Returns:
        answers: string (batch, n, m); scores: float32, and is_answer: bool, of the same shape;
        error: string (batch, n).
    """
    batch, n = tf.shape(texts)[0], _size(texts)
    function = part.functions[part.scored]
    answer = ask(function, tf.reshape(texts, [-1]), tf.reshape(exists, [-1]))
    outputs, score = answer["outputs"], tf.cast(answer["score"], tf.float32)
    if part.scored == "n_best":
        is_answer = tf.range(_size(outputs)) < answer["count"][:, tf.newaxis]
    else:
        outputs, score = outputs[:, tf.newaxis], score[:, tf.newaxis]
        is_answer = tf.fill(tf.shape(outputs), True)
    is_answer &= (outputs != "") & tf.math.is_finite(score)
    score = tf.where(is_answer, score, 0.0)
    split = lambda t: tf.reshape(t, [batch, n, _size(outputs)])  # noqa: E731
    return *map(split, (outputs, score, is_answer)), tf.reshape(answer["error"], [batch, n])


def _size(values):
    """Returns the size of the last dimension: an int if it is known, otherwise a tensor."""
    return tf.shape(values)[-1] if values.shape[-1] is None else values.shape[-1]
