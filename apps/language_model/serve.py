"""The exported language model: strings in, strings out, in one graph."""

import numpy as np
import tensorflow as tf

from shared.layers.masking import padding_mask
from shared.serving import decoding
from shared.serving.export import sample_batch
from shared.text.cleaning import add_error, clean
from shared.text.vocabulary import END, UNKNOWN

BLOCK = 64  # time steps whose logits are in memory at once: (batch, BLOCK, vocabulary)
SUGGESTIONS = 5
MAX_TOKENS = 10_000  # upper limit of `max_tokens`, so that no request exhausts the memory
MAX_STATE = 1e6  # no state of a model is larger: an LSTM adds at most 1 to a cell at each step
MAX_LOG_PERPLEXITY = 88.0  # its exponential is finite in float32


class Server(tf.Module):
    """The signatures of the exported model.

    serving_default(inputs)
        continues each text to the end of its line, with `config.max_tokens` tokens at most. `outputs`:
        the text with its continuation, without `<unk>`; `continuation`: the continuation alone; `score`:
        its log-probability.
    generate(inputs, max_tokens, temperature, top_k, top_p, seed)
        the same with the parameters of the caller, with `MAX_TOKENS` tokens at most; see
        `decoding.sample`. The nearest valid value replaces a parameter that is out of its range, and 0
        replaces NaN.
    score(inputs)
        `log_probability` (natural logarithm), `tokens` and `perplexity` of each text as complete lines, in
        which a line end is a token; `outputs`: the text as the model reads it. A perplexity is at most
        e^88, about 1.7e38.
    start(inputs), step(inputs, state)
        read a piece of text at the start of a line, or after `state`. `log_probability` and `tokens` of
        the piece; `next_tokens` (batch, 5), the most probable first and without `<unk>`, and their
        `next_log_probability`; `outputs`: the most probable next token; `state` (batch, size), from
        which `step` continues. A line end is "\n". A `state` that is not finite, or above `MAX_STATE`, is
        replaced by the state at the start of a line.

    `error` (batch,) says what is wrong with a row; it is empty if nothing is. A row of more than
    `config.max_request_bytes` bytes is refused: its texts are empty, its numbers are 0, and its `state`
    is that before the text. An empty text is valid.

    Args:
        model: the model of `model.build`.
        config: Config of the app.
        assets: `data.Assets`.
    """

    accepts_blank = True  # an empty prompt is valid

    def __init__(self, model, config, assets):
        super().__init__()
        self.vocabulary = assets.vocabulary
        self.config = config
        embedding, stack = model.get_layer("embedding"), model.get_layer("stack")
        # A function hides the Keras layers from tf.Module, which would save them in a form that TF
        # Serving cannot load.
        self._layers = lambda: (embedding, stack)
        texts = tf.TensorSpec([None], tf.string, name="inputs")
        self._state_size = stack.units * stack.num_layers * stack.states_per_layer
        state = tf.TensorSpec([None, self._state_size], tf.float32, name="state")
        parameters = {
            "max_tokens": tf.int32,
            "temperature": tf.float32,
            "top_k": tf.int32,
            "top_p": tf.float32,
            "seed": tf.int32,
        }
        specs = [tf.TensorSpec([None], dtype, name=name) for name, dtype in parameters.items()]
        functions = {
            "serving_default": (self.continue_text, [texts]),
            "generate": (self.generate, [texts, *specs]),
            "score": (self.score, [texts]),
            "start": (self.start, [texts]),
            "step": (self.step, [texts, state]),
        }
        self.endpoints = {
            name: tf.function(function, input_signature=signature, autograph=False)
            for name, (function, signature) in functions.items()
        }

    def continue_text(self, inputs):
        """The default answer; see the class."""
        fill = lambda value: tf.fill(tf.shape(inputs), value)  # noqa: E731
        return self.generate(
            inputs,
            fill(self.config.max_tokens),
            fill(self.config.temperature),
            fill(0),
            fill(1.0),
            fill(self.config.seed),
        )

    def generate(self, inputs, max_tokens, temperature, top_k, top_p, seed):
        """Continues each text; see the class."""
        text, error, refused = self._clean(inputs)
        changes = tf.fill(tf.shape(error), "")
        max_tokens, changes = _in_range("max_tokens", max_tokens, 0, MAX_TOKENS, changes)
        temperature, changes = _in_range("temperature", temperature, 0.0, None, changes)
        top_k, changes = _in_range("top_k", top_k, 0, None, changes)
        top_p, changes = _in_range("top_p", top_p, 0.0, 1.0, changes)
        error = add_error(error, (changes != "") & ~refused, changes)
        ids, lengths = self.vocabulary.encode(text)
        _, states = self._read(ids, lengths, self._initial_states(ids), scored=False)
        ids, lengths, score = decoding.sample(
            self._next,
            self._logits(states),
            states,
            max_tokens=tf.where(refused, 0, max_tokens),
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            end_id=END,
            banned_id=UNKNOWN,
        )
        continuation = self.vocabulary.decode(ids, lengths)
        return {
            "outputs": self.vocabulary.join(text, continuation),
            "continuation": continuation,
            "score": score,
            "error": error,
        }

    def score(self, inputs):
        """Scores each text by itself; see the class."""
        text, error, refused = self._clean(inputs)
        text = tf.where(tf.strings.regex_full_match(text, r"(?s).*\n"), text, text + "\n")
        ids, lengths = self.vocabulary.encode(text)
        log_p, _ = self._read(ids, lengths, self._initial_states(ids), scored=True)
        log_perplexity = -log_p / tf.cast(lengths, tf.float32)
        answer = {
            "outputs": self.vocabulary.join("", self.vocabulary.decode(ids, lengths - 1)),
            "log_probability": log_p,
            "tokens": lengths,
            "perplexity": tf.exp(tf.minimum(log_perplexity, MAX_LOG_PERPLEXITY)),
        }
        return {**_empty_where(refused, answer), "error": error}

    def start(self, inputs):
        """Reads a piece of text at the start of a line; see the class."""
        return self._read_piece(inputs, self._initial_states(inputs), "")

    def step(self, inputs, state):
        """Reads a piece of text from a state; see the class."""
        _, stack = self._layers()
        # In mixed precision, a number that is finite in float32 may be infinite.
        state = tf.cast(state, stack.compute_dtype)
        # False for NaN.
        is_valid = tf.reduce_all(tf.abs(tf.cast(state, tf.float32)) <= MAX_STATE, axis=1)
        start = tf.concat(self._initial_states(inputs), axis=1)
        states = tf.where(is_valid[:, tf.newaxis], state, start)
        states = tf.split(states, stack.num_layers * stack.states_per_layer, axis=1)
        message = f"state must be finite and at most {MAX_STATE:,.0f}: that of the start of a line was used"
        return self._read_piece(inputs, states, tf.where(is_valid, "", message))

    def sample_requests(self):
        """Returns a request for each signature, to check an export: {signature: {input: array}}."""
        texts = sample_batch(
            "the", "", "a line\nand the ", "\u6f22\u5b57 of another script", b"broken \xff UTF-8"
        )
        rows = len(texts)
        parameters = {
            "max_tokens": np.arange(rows, dtype=np.int32) * 5,
            "temperature": np.linspace(0, 1.5, rows, dtype=np.float32),
            "top_k": np.array([0, 1, 2, 0, 10], np.int32),
            "top_p": np.array([1, 1, 0.9, 0.5, 0], np.float32),
            "seed": np.arange(rows, dtype=np.int32),
        }
        rng = np.random.default_rng(0)
        state = np.tanh(rng.normal(size=(rows, self._state_size))).astype(np.float32)
        return {
            "serving_default": {"inputs": texts},
            "generate": {"inputs": texts, **parameters},
            "score": {"inputs": texts},
            "start": {"inputs": texts},
            "step": {"inputs": texts, "state": state},
        }

    def _clean(self, inputs):
        """Returns the text, string (batch,), `error`, and which rows are refused, bool (batch,)."""
        text, error = clean(inputs, self.config.max_request_bytes)
        return text, error, (text == "") & (error != "")

    def _read_piece(self, inputs, states, state_error):
        text, error, refused = self._clean(inputs)
        ids, lengths = self.vocabulary.encode(text)
        log_p, states = self._read(ids, lengths, states, scored=True)
        next_log_p = tf.nn.log_softmax(self._logits(states))
        is_unknown = tf.range(self.vocabulary.size) == UNKNOWN  # not a useful suggestion
        best_log_p, best_ids = tf.math.top_k(
            tf.where(is_unknown, next_log_p.dtype.min, next_log_p),
            min(SUGGESTIONS, self.vocabulary.size - 1),
        )
        tokens = self.vocabulary.token(best_ids)
        answer = {
            "outputs": tokens[:, 0],
            "log_probability": log_p,
            "tokens": lengths,
            "next_tokens": tokens,
            "next_log_probability": best_log_p,
        }
        return {
            **_empty_where(refused, answer),
            "state": tf.cast(tf.concat(states, axis=1), tf.float32),
            "error": add_error(error, (state_error != "") & ~refused, state_error),
        }

    def _initial_states(self, rows):
        """Returns the states after a line end, from which every text starts, for as many rows."""
        _, stack = self._layers()
        batch = tf.shape(rows)[0]
        _, states = self._next(tf.fill([batch], END), stack.zero_states(batch))
        return states

    def _next(self, ids, states):
        """Step function of decoding: ids (batch,) to logits (batch, vocabulary) and the new states."""
        embedding, stack = self._layers()
        _, states = stack.step(embedding(ids), states)
        return self._logits(states), states

    def _logits(self, states):
        """Returns the logits (batch, vocabulary) of the token after `states`, from h of the top layer."""
        embedding, stack = self._layers()
        return tf.cast(embedding(states[-stack.states_per_layer], reverse=True), tf.float32)

    def _read(self, ids, lengths, states, scored):
        """Reads ids (batch, time) from `states`, block by block, so that memory does not grow with time.

        A row takes part in the blocks that it has ids for: a long row does not delay the others.

        Returns:
            the log-probability of the first `lengths` ids, float32 (batch,), or zeros if not `scored`;
            and the states after them.
        """
        embedding, stack = self._layers()
        top = -stack.states_per_layer

        def block(begin, total, states):
            rows = tf.where(lengths > begin)
            at_rows = lambda t: tf.gather_nd(t, rows)  # noqa: E731
            w = at_rows(ids)[:, begin : begin + BLOCK]
            mask = padding_mask(tf.minimum(at_rows(lengths) - begin, tf.shape(w)[1]), w)
            before = [at_rows(state) for state in states]
            y, after = stack(embedding(w), initial_state=before, mask=mask)
            if scored:
                h = tf.concat([before[top][:, tf.newaxis], y[:, :-1]], axis=1)
                logits = tf.cast(embedding(h, reverse=True), tf.float32)
                entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(w, logits)
                log_p = -tf.reduce_sum(tf.where(mask, entropy, 0.0), axis=1)
                total = tf.tensor_scatter_nd_add(total, rows, log_p)
            after = [
                tf.tensor_scatter_nd_update(state, rows, new)
                for state, new in zip(states, after, strict=True)
            ]
            return begin + BLOCK, total, after

        zero = tf.cast(tf.zeros_like(lengths), tf.float32)
        _, total, states = tf.while_loop(
            lambda begin, *_: begin < tf.reduce_max(lengths), block, (0, zero, list(states))
        )
        return total, states


def _in_range(name, values, low, high, error):
    """Replaces values out of [low, high] by the nearest in it, and NaN by `low`.

    Args:
        name: name of the parameter, for the message.
        values: (batch,).
        low: smallest value.
        high: greatest value; None: the greatest finite number of the type.
        error: string (batch,), the messages so far.

    Returns:
        the values, and the messages with one for each row that changed.
    """
    range_ = f"at least {low:g}" if high is None else f"from {low:g} to {high:g}"
    used = values
    if values.dtype.is_floating:
        range_ = f"finite and {range_}" if high is None else range_
        used = tf.where(tf.math.is_nan(values), low, values)
    used = tf.clip_by_value(used, low, values.dtype.max if high is None else high)
    shown = tf.strings.as_string(used, shortest=values.dtype.is_floating)
    message = tf.strings.join([f"{name} must be {range_}: ", shown, " was used"])
    return used, add_error(error, used != values, message)


def _empty_where(refused, outputs):
    """Returns {name: output} with "" and 0 in the refused rows, bool (batch,)."""

    def empty(t):
        rows = tf.reshape(refused, [-1, *[1] * (t.shape.rank - 1)])
        return tf.where(rows, tf.zeros([], t.dtype), t)

    return {name: empty(t) for name, t in outputs.items()}
