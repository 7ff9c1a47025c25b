"""The language model as a service: strings in, strings out, all of it inside one graph."""

import numpy as np
import tensorflow as tf

from shared.serving import decoding
from shared.text.vocabulary import END, UNKNOWN, clean

BLOCK = 64  # tokens whose logits are in memory at once: (batch, BLOCK, vocabulary)
SUGGESTIONS = 5
LONGEST = 10_000  # tokens that `generate` gives at most: no request takes the memory of the others


class Server(tf.Module):
    """The signatures of the exported model.

    serving_default(inputs)
        continues each text to the end of its line, or by `config.max_tokens`. `outputs`: the text
        with its continuation, in which no `<unk>` is; `continuation`: the continuation alone;
        `score`: its log-probability.
    generate(inputs, max_tokens, temperature, top_k, top_p, seed)
        the same, by the caller's parameters, at most `LONGEST` tokens; see `decoding.sample`.
    score(inputs)
        `log_probability` (natural), `tokens` and `perplexity` of each text as whole lines, each
        line's end a token; `outputs`: the text as the model sees it.
    start(inputs), step(inputs, state)
        read a piece of text at the start of a line, or from a `state`. `log_probability` and `tokens`
        of the piece; `next_tokens` (batch, 5), the likeliest first, with their `next_log_probability`,
        `<unk>` left out;
        `outputs`: the likeliest; `state` (batch, size), to go on from. A line's end is "\\n".

    In all of them `error` (batch,) says what was wrong with a row, and is empty when all is well.

    Args:
        model: as `model.build` gives it.
        config: the app's Config.
        vocabulary: `text.Vocabulary`.
    """

    def __init__(self, model, config, vocabulary):
        super().__init__()
        # A Keras model as an attribute saves a graph that TF Serving cannot load; its variables do.
        self._held = [v.value for v in model.trainable_variables]
        self.vocabulary = vocabulary
        self.config = config
        embedding, stack = model.get_layer("embedding"), model.get_layer("stack")
        self._net = lambda: (embedding, stack)
        texts = tf.TensorSpec([None], tf.string, name="inputs")
        width = stack.units * stack.num_layers * stack.states_per_layer
        state = tf.TensorSpec([None, width], tf.float32, name="state")
        parameters = {
            "max_tokens": tf.int32,
            "temperature": tf.float32,
            "top_k": tf.int32,
            "top_p": tf.float32,
            "seed": tf.int32,
        }
        specs = [tf.TensorSpec([None], dtype, name=name) for name, dtype in parameters.items()]
        self.endpoints = {
            "serving_default": tf.function(self.continue_, input_signature=[texts]),
            "generate": tf.function(self.generate, input_signature=[texts, *specs]),
            "score": tf.function(self.score, input_signature=[texts]),
            "start": tf.function(self.start, input_signature=[texts]),
            "step": tf.function(self.step, input_signature=[texts, state]),
        }

    def continue_(self, inputs):
        """The default answer; see the class."""
        same = lambda value: tf.fill(tf.shape(inputs), value)  # noqa: E731
        return self.generate(
            inputs,
            same(self.config.max_tokens),
            same(self.config.temperature),
            same(0),
            same(1.0),
            same(self.config.seed),
        )

    def generate(self, inputs, max_tokens, temperature, top_k, top_p, seed):
        """Continues each text; see the class."""
        text, error = clean(inputs)
        ids, lengths = self.vocabulary.encode(text)
        _, states = self._read(ids, lengths, self._begin(ids), scored=False)
        ids, lengths, score = decoding.sample(
            self._next,
            self._logits(states),
            states,
            max_tokens=tf.minimum(max_tokens, LONGEST),
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
        """Scores each text on its own; see the class."""
        text, error = clean(inputs)
        text = tf.where(tf.strings.regex_full_match(text, r"(?s).*\n"), text, text + "\n")
        ids, lengths = self.vocabulary.encode(text)
        log_p, _ = self._read(ids, lengths, self._begin(ids), scored=True)
        return {
            "outputs": self.vocabulary.join("", self.vocabulary.decode(ids, lengths - 1)),
            "log_probability": log_p,
            "tokens": lengths,
            "perplexity": tf.exp(-log_p / tf.cast(lengths, tf.float32)),
            "error": error,
        }

    def start(self, inputs):
        """Reads a piece of text at the start of a line; see the class."""
        return self._piece(inputs, self._begin(inputs))

    def step(self, inputs, state):
        """Reads a piece of text from a state; see the class."""
        _, stack = self._net()
        return self._piece(
            inputs, tf.split(state, stack.num_layers * stack.states_per_layer, axis=1)
        )

    def sample_requests(self):
        """A request for each signature, to check an export with: {signature: {input: array}}."""
        texts = [
            "the",
            "",
            "a line\nand the ",
            "\u6f22\u5b57 of another script",
            b"broken \xff UTF-8",
        ]
        texts = np.array([t if isinstance(t, bytes) else t.encode() for t in texts], object)
        rows = len(texts)
        _, stack = self._net()
        width = stack.units * stack.num_layers * stack.states_per_layer
        parameters = {
            "max_tokens": np.arange(rows, dtype=np.int32) * 5,
            "temperature": np.linspace(0, 1.5, rows, dtype=np.float32),
            "top_k": np.array([0, 1, 2, 0, 10], np.int32),
            "top_p": np.array([1, 1, 0.9, 0.5, 0], np.float32),
            "seed": np.arange(rows, dtype=np.int32),
        }
        state = np.tanh(np.random.default_rng(0).normal(size=(rows, width))).astype(np.float32)
        return {
            "serving_default": {"inputs": texts},
            "generate": {"inputs": texts, **parameters},
            "score": {"inputs": texts},
            "start": {"inputs": texts},
            "step": {"inputs": texts, "state": state},
        }

    def _piece(self, inputs, states):
        text, error = clean(inputs)
        ids, lengths = self.vocabulary.encode(text)
        log_p, states = self._read(ids, lengths, states, scored=True)
        next_log_p = tf.nn.log_softmax(self._logits(states))
        unknown = tf.range(self.vocabulary.size) == UNKNOWN  # which nobody wants suggested
        best, likeliest = tf.math.top_k(
            tf.where(unknown, next_log_p.dtype.min, next_log_p),
            min(SUGGESTIONS, self.vocabulary.size - 1),
        )
        tokens = self.vocabulary.token(likeliest)
        return {
            "outputs": tokens[:, 0],
            "log_probability": log_p,
            "tokens": lengths,
            "next_tokens": tokens,
            "next_log_probability": best,
            "state": tf.concat(states, axis=1),
            "error": error,
        }

    def _begin(self, rows):
        """The states after a line's end, of as many rows: what every text begins from."""
        _, stack = self._net()
        batch = tf.shape(rows)[0]
        _, states = self._next(tf.fill([batch], END), stack.zero_states(batch))
        return states

    def _next(self, ids, states):
        """The step function: ids (batch,) to logits (batch, vocabulary) and the new states."""
        embedding, stack = self._net()
        _, states = stack.step(embedding(ids), states)
        return self._logits(states), states

    def _logits(self, states):
        """Logits (batch, vocabulary) of the token after `states`: the top layer's h is its output."""
        embedding, stack = self._net()
        return embedding(states[-stack.states_per_layer], reverse=True)

    def _read(self, ids, lengths, states, scored):
        """Reads ids (batch, time) from `states`, in blocks, so that memory does not grow with time.

        Returns:
            the log-probability of the first `lengths` ids, float32 (batch,), zeros if not `scored`;
            and the states after them.
        """
        embedding, stack = self._net()
        time = tf.shape(ids)[1]
        top = -stack.states_per_layer

        def block(begin, total, states):
            w = ids[:, begin : begin + BLOCK]
            mask = tf.range(begin, begin + tf.shape(w)[1])[tf.newaxis] < lengths[:, tf.newaxis]
            y, after = stack(embedding(w), initial_state=states, mask=mask)
            if scored:
                before = tf.concat([states[top][:, tf.newaxis], y[:, :-1]], axis=1)
                entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(
                    w, embedding(before, reverse=True)
                )
                total -= tf.reduce_sum(tf.where(mask, entropy, 0.0), axis=1)
            return begin + BLOCK, total, after

        zero = tf.cast(tf.zeros_like(lengths), tf.float32)
        _, total, states = tf.while_loop(
            lambda begin, total, states: begin < time, block, (0, zero, list(states))
        )
        return total, states
