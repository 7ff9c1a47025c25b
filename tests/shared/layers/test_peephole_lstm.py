"""The peephole LSTM against references that share no code with it: NumPy, BlockLSTM, ONNX, Keras.

Every weight is random and differs from gate to gate: equal weights cannot see two gates swapped.
"""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src import testing

from shared.layers.peephole_lstm import PeepholeLSTM, PeepholeLSTMCell

B, T, D, H = 4, 6, 3, 5
LSTM_OPTIONS = set(inspect.signature(keras.layers.LSTM.__init__).parameters)
CELL_OPTIONS = set(inspect.signature(PeepholeLSTMCell.__init__).parameters) - {"self", "kwargs"}
LENGTHS = [6, 0, 4, 1]
MASKS = {
    "none": None,
    "ragged": np.arange(T) < np.array(LENGTHS)[:, None],
    "left_padded": np.arange(T) >= np.array([0, 5, 2, 3])[:, None],
    # And a row of padding alone.
    "gaps": (np.random.default_rng(5).random((B, T)) < 0.5) & [[True], [False], [True], [True]],
}


def randoms(*shapes, seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) * 0.7 for shape in shapes]


def weights(seed=1, dtype="float64"):
    """W, U, b, p."""
    return randoms((D, 4 * H), (H, 4 * H), (4 * H,), (3, H), seed=seed, dtype=dtype)


def built(layer, values=None):
    """The layer with `values`, or random ones, for weights."""
    layer.build((B, T, D))
    values = weights(dtype="float32") if values is None else values
    layer.set_weights(values[: len(layer.weights)])
    return layer


# --- The NumPy reference: forward, and back-propagation through time by hand ---------------------


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def forward(x, h, c, W, U, b, p, mask=None, backwards=False):
    """Outputs (batch, time, units), last h and c, and what `backward` needs of each step."""
    y, ys, tape = np.zeros_like(h), [], []
    order = range(T)[::-1] if backwards else range(T)
    for t in order:
        m = np.ones((len(x), 1)) if mask is None else mask[:, t, None].astype(float)
        z_i, z_f, z_c, z_o = np.split(x[:, t] @ W + h @ U + b, 4, axis=1)
        i, f, g = sigmoid(z_i + p[0] * c), sigmoid(z_f + p[1] * c), np.tanh(z_c)
        c_new = f * c + i * g
        o = sigmoid(z_o + p[2] * c_new)
        h_new = o * np.tanh(c_new)
        tape.append((t, m, h, c, i, f, g, o, c_new))
        y, h, c = m * h_new + (1 - m) * y, m * h_new + (1 - m) * h, m * c_new + (1 - m) * c
        ys.append(y)
    return np.stack(ys, axis=1), h, c, tape


def backward(x, W, U, p, tape, d_ys, dh, dc):
    """Gradients of x, h0, c0, W, U, b, p, from those of the outputs and of the last h and c."""
    dx, dW, dU, dp = np.zeros_like(x), np.zeros_like(W), np.zeros_like(U), np.zeros_like(p)
    db, dy = np.zeros(4 * H), 0
    for step, (t, m, h, c, i, f, g, o, c_new) in reversed(list(enumerate(tape))):
        dy = dy + d_ys[:, step]
        dh_new, dc_new = m * (dy + dh), m * dc
        dy, dh, dc = (1 - m) * dy, (1 - m) * dh, (1 - m) * dc
        dz_o = dh_new * np.tanh(c_new) * o * (1 - o)
        dc_new = dc_new + dh_new * o * (1 - np.tanh(c_new) ** 2) + dz_o * p[2]
        dz_i, dz_f = dc_new * g * i * (1 - i), dc_new * c * f * (1 - f)
        dz = np.concatenate([dz_i, dz_f, dc_new * i * (1 - g**2), dz_o], axis=1)
        dx[:, t] = dz @ W.T
        dW, dU, db = dW + x[:, t].T @ dz, dU + h.T @ dz, db + dz.sum(0)
        dp = dp + np.stack([(dz_i * c).sum(0), (dz_f * c).sum(0), (dz_o * c_new).sum(0)])
        dh = dh + dz @ U.T
        dc = dc + dc_new * f + dz_i * p[0] + dz_f * p[1]
    return dx, dh, dc, dW, dU, db, dp


def case(seed=2):
    """x, h0, c0, and the weights of the outputs and the last h and c in a scalar loss."""
    return randoms((B, T, D), (B, H), (B, H), (B, T, H), (B, H), (B, H), seed=seed)


def test_the_reference_gradient_is_that_of_finite_differences():
    x, h, c, r_ys, r_h, r_c = case()
    variables = [x, h, c, *weights()]
    mask = MASKS["gaps"]

    def loss():
        ys, h_last, c_last, _ = forward(*variables, mask)
        return (ys * r_ys).sum() + (h_last * r_h).sum() + (c_last * r_c).sum()

    W, U, _, p = variables[3:]
    gradients = backward(x, W, U, p, forward(*variables, mask)[3], r_ys, r_h, r_c)
    for variable, gradient in zip(variables, gradients, strict=True):
        numeric = np.zeros_like(variable)
        for index in np.ndindex(variable.shape):
            saved, e = variable[index], 1e-5
            variable[index] = saved + e
            above = loss()
            variable[index] = saved - e
            numeric[index] = (above - loss()) / (2 * e)
            variable[index] = saved
        np.testing.assert_allclose(gradient, numeric, atol=1e-8)


@pytest.mark.parametrize("mode", ["eager", "function", "unknown_shape"])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("mask", MASKS)
def test_forward_and_gradients_are_those_of_numpy(mask, backwards, mode):
    mask = MASKS[mask]
    x, h, c, r_ys, r_h, r_c = case()
    W, U, b, p = weights()
    layer = PeepholeLSTM(
        H, return_sequences=True, return_state=True, go_backwards=backwards, dtype="float64"
    )
    built(layer, [W, U, b, p])

    def outputs_and_gradients(x, h, c):
        with tf.GradientTape() as tape:
            tape.watch([x, h, c])
            m = None if mask is None else tf.constant(mask)
            ys, h_last, c_last = layer(x, initial_state=[h, c], mask=m, training=True)
            loss = sum(tf.reduce_sum(a * r) for a, r in ((ys, r_ys), (h_last, r_h), (c_last, r_c)))
        variables = [v.value for v in layer.trainable_variables]
        return ys, h_last, c_last, *tape.gradient(loss, [x, h, c, *variables])

    if mode != "eager":
        n = [None] * 3 if mode == "unknown_shape" else [B, T, B]
        spec = [tf.TensorSpec(s, "float64") for s in ([n[0], n[1], D], [n[2], H], [n[2], H])]
        outputs_and_gradients = tf.function(outputs_and_gradients, input_signature=spec)
    got = outputs_and_gradients(*map(tf.constant, (x, h, c)))

    *want, tape = forward(x, h, c, W, U, b, p, mask, backwards)
    want += backward(x, W, U, p, tape, r_ys, r_h, r_c)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-12)


# --- Other people's operators --------------------------------------------------------------------


def test_forward_and_gradients_are_those_of_block_lstm():
    x, h, c, r_ys = case()[:4]
    x, h, c = (tf.constant(a, tf.float32) for a in (x, h, c))
    layer = built(PeepholeLSTM(H, return_sequences=True))
    W, U, b, p = (tf.constant(w) for w in layer.get_weights())

    def reorder(w):  # i, f, c, o to BlockLSTM's i, c, f, o
        i, f, g, o = tf.split(w, 4, axis=-1)
        return tf.concat([i, g, f, o], axis=-1)

    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, h, c, W, U, b, p])
        theirs = tf.raw_ops.BlockLSTM(
            seq_len_max=tf.constant(T, tf.int64),
            x=tf.transpose(x, [1, 0, 2]),
            cs_prev=c,
            h_prev=h,
            w=reorder(tf.concat([W, U], axis=0)),
            wci=p[0],
            wcf=p[1],
            wco=p[2],
            b=reorder(b),
            forget_bias=0.0,
            cell_clip=0.0,
            use_peephole=True,
        )
        theirs = tf.transpose(theirs.h, [1, 0, 2])
        ours = layer(x, initial_state=[h, c], training=True)
        loss = [tf.reduce_sum(y * r_ys) for y in (theirs, ours)]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    expected = tape.gradient(loss[0], [x, h, c, W, U, b, p])
    got = tape.gradient(loss[1], [x, h, c, *[v.value for v in layer.trainable_variables]])
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(g, e, atol=2e-5)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_outputs_are_those_of_the_onnx_operator(direction):
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    seeds = {"forward": [1], "reverse": [2], "bidirectional": [1, 2]}[direction]
    all_weights = [weights(seed, "float32") for seed in seeds]
    x = case()[0].astype("float32")
    states = randoms((len(seeds), B, H), (len(seeds), B, H), seed=9, dtype="float32")

    def reorder(w):  # i, f, c, o to ONNX's i, o, f, c
        i, f, g, o = np.split(w, 4, axis=-1)
        return np.concatenate([i, o, f, g], axis=-1)

    inputs = {
        "X": x.transpose(1, 0, 2),
        "W": np.stack([reorder(W).T for W, _, _, _ in all_weights]),
        "R": np.stack([reorder(U).T for _, U, _, _ in all_weights]),
        "B": np.stack([np.concatenate([reorder(b), 0 * b]) for _, _, b, _ in all_weights]),
        "initial_h": states[0],
        "initial_c": states[1],
        "P": np.stack([p[[0, 2, 1]].reshape(-1) for _, _, _, p in all_weights]),
    }
    names = ["X", "W", "R", "B", "", "initial_h", "initial_c", "P"]
    node = helper.make_node("LSTM", names, ["Y", "Y_h", "Y_c"], hidden_size=H, direction=direction)
    infos = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n, a in inputs.items()
    ]
    out = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("Y", "Y_h", "Y_c")]
    graph = helper.make_graph([node], "lstm", infos, out)
    Y, Y_h, Y_c = ReferenceEvaluator(helper.make_model(graph)).run(None, inputs)

    for k, seed in enumerate(seeds):
        back = seed == 2
        layer = PeepholeLSTM(H, return_sequences=True, return_state=True, go_backwards=back)
        built(layer, all_weights[k])
        ys, h, c = layer(x, initial_state=[states[0][k], states[1][k]])
        ys = ys[:, ::-1] if back else ys
        np.testing.assert_allclose(ys, Y[:, k].transpose(1, 0, 2), atol=1e-6)
        np.testing.assert_allclose(h, Y_h[k], atol=1e-6)
        np.testing.assert_allclose(c, Y_c[k], atol=1e-6)


# --- Keras: RNN(PeepholeLSTMCell), and LSTM where the peepholes are zero -------------------------

OPTIONS = {
    "default": {},
    "sequences_and_state": {"return_sequences": True, "return_state": True},
    "state": {"return_state": True},
    "activations": {"activation": "softsign", "recurrent_activation": "hard_sigmoid"},
    "no_activation": {"activation": None},
    "no_bias": {"use_bias": False},
    "regularizers": {
        "kernel_regularizer": "l2",
        "recurrent_regularizer": "l1",
        "bias_regularizer": "l2",
        "activity_regularizer": "l2",
    },
    "dropout": {"dropout": 0.5},
    "dropout_one": {"dropout": 1.0, "recurrent_dropout": 1.0},
    "recurrent_dropout": {"recurrent_dropout": 0.5, "return_sequences": True},
    "both_dropouts": {"dropout": 0.3, "recurrent_dropout": 0.4, "return_sequences": True},
    "dropouts_unrolled": {"dropout": 0.3, "recurrent_dropout": 0.4, "unroll": True},
    "backwards": {"go_backwards": True, "return_sequences": True, "return_state": True},
    "backwards_unrolled": {"go_backwards": True, "return_sequences": True, "unroll": True},
    "unrolled": {"unroll": True},
    "zero_output": {"zero_output_for_mask": True, "return_sequences": True},
    "zero_output_last": {"zero_output_for_mask": True, "return_state": True},
    "zero_output_unrolled": {"zero_output_for_mask": True, "unroll": True},
    "stateful": {"stateful": True, "return_sequences": True},
}


def run_twice(layer, mask):
    """Outputs, losses and gradients of two calls: dropout must advance, and state be carried."""
    result = []
    for x in randoms((B, T, D), (B, T, D), seed=3, dtype="float32"):
        x = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = tf.nest.flatten(layer(x, mask=mask, training=True))
            loss = sum(tf.reduce_sum(tf.sin(y)) for y in outputs) + sum(layer.losses)
        result += [*outputs, loss]
        result += tape.gradient(loss, [x, *[v.value for v in layer.trainable_variables]])
    return result


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mask", ["none", "gaps"])
@pytest.mark.parametrize("options", OPTIONS)
def test_the_layer_is_rnn_of_the_cell_and_without_peepholes_keras_lstm(options, mask):
    options, mask = {"seed": 7, **OPTIONS[options]}, MASKS[mask]
    values = weights(dtype="float32")
    if not options.get("use_bias", True):
        values = [values[0], values[1], values[3]]
    ours = run_twice(built(PeepholeLSTM(H, **options), values), mask)

    cell_options = {k: v for k, v in options.items() if k in CELL_OPTIONS}
    rnn_options = {k: v for k, v in options.items() if k not in CELL_OPTIONS}
    rnn = keras.layers.RNN(PeepholeLSTMCell(H, **cell_options), **rnn_options)
    assert_same(ours, run_twice(built(rnn, values), mask))
    if 0 < options.get("recurrent_dropout", 0) < 1:
        return  # Keras has another mask for each gate

    values[-1] = np.zeros_like(values[-1])
    ours = run_twice(built(PeepholeLSTM(H, **options), values), mask)
    lstm = keras.layers.LSTM(H, use_cudnn=False, **options)
    theirs = run_twice(built(lstm, values), mask)
    per_call = len(theirs) // 2  # ours has one gradient more: that of the peepholes
    assert_same(ours[:per_call] + ours[per_call + 1 : -1], theirs)


def test_recurrent_dropout_drops_features_of_h_for_all_gates():
    x, h, c = (a.astype("float32") for a in case()[:3])
    cell = PeepholeLSTMCell(H, recurrent_dropout=0.5, seed=1)
    cell.build((B, D))
    cell.set_weights(weights(dtype="float32"))
    dropped = cell(x[:, 0], [h, c], training=True)[0]
    mask = cell.get_recurrent_dropout_mask(h).numpy()
    assert set(np.unique(mask)) == {0, 2}
    np.testing.assert_allclose(dropped, cell(x[:, 0], [h * mask, c])[0], atol=1e-6)
    assert np.abs(dropped - cell(x[:, 0], [h, c])[0]).max() > 0.01


def test_it_has_every_option_of_keras_lstm():
    ours = set(inspect.signature(PeepholeLSTM.__init__).parameters)
    assert LSTM_OPTIONS - ours == {"use_cudnn"}
    assert set(inspect.signature(keras.layers.LSTMCell.__init__).parameters) <= CELL_OPTIONS | {
        "self",
        "kwargs",
    }


def test_a_new_layer_is_the_keras_lstm_of_the_same_seed():
    x = case()[0].astype("float32")
    outputs = []
    for cls in PeepholeLSTM, keras.layers.LSTM:
        keras.utils.set_random_seed(11)
        outputs.append(cls(H)(x))
    np.testing.assert_allclose(*outputs, atol=1e-6)


# --- Padding, batches, state ---------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda x: x, keras.layers.Bidirectional], ids=["one", "both"])
def test_a_row_is_answered_as_if_it_were_alone_and_not_padded(wrap):
    x = case()[0].astype("float32")
    layer = wrap(PeepholeLSTM(H, return_sequences=True, return_state=True))
    layer.build((B, T, D))
    values = weights(1, "float32") + weights(2, "float32")
    layer.set_weights(values[: len(layer.weights)])
    ys, *states = layer(x, mask=MASKS["ragged"])
    for row, n in enumerate(LENGTHS):
        alone, *alone_states = layer(x[row : row + 1, :n])
        np.testing.assert_allclose(ys[row : row + 1, :n], alone, atol=1e-6)
        for state, alone_state in zip(states, alone_states, strict=True):
            np.testing.assert_allclose(state[row : row + 1], alone_state, atol=1e-6)


def test_a_row_of_padding_alone_leaves_the_state_and_gives_zero():
    x, h, c = (a.astype("float32") for a in case()[:3])
    layer = built(PeepholeLSTM(H, return_state=True))
    y, h_last, c_last = layer(x, initial_state=[h, c], mask=np.zeros((B, T), bool))
    np.testing.assert_array_equal(y, np.zeros((B, H)))
    np.testing.assert_array_equal(h_last, h)
    np.testing.assert_array_equal(c_last, c)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("rows", "steps"), [(0, 3), (2, 0), (0, 0)])
def test_no_rows_and_no_steps(rows, steps, masked, sequences, graph):
    layer = built(PeepholeLSTM(H, return_sequences=sequences, return_state=True))

    def call(x, h, c):
        mask = tf.ones(tf.shape(x)[:2], tf.bool) if masked else None
        with tf.GradientTape() as tape:
            tape.watch(h)
            y, h_last, c_last = layer(x, initial_state=[h, c], mask=mask, training=True)
            loss = sum(map(tf.reduce_sum, (y, h_last, c_last)))
        return y, h_last, c_last, tape.gradient(loss, h)

    if graph:
        spec = [tf.TensorSpec(shape) for shape in ([None, None, D], [None, H], [None, H])]
        call = tf.function(call, input_signature=spec)
    y, h_last, c_last, gradient = call(
        tf.zeros([rows, steps, D]), tf.ones([rows, H]), tf.fill([rows, H], 2.0)
    )
    assert y.shape == ((rows, steps, H) if sequences else (rows, H))
    assert gradient.shape == (rows, H)
    if steps == 0:
        np.testing.assert_array_equal(y, np.zeros(y.shape))
        np.testing.assert_array_equal(h_last, np.ones((rows, H)))
        np.testing.assert_array_equal(c_last, np.full((rows, H), 2.0))


def test_stateful_training_carries_the_state_and_reset_state_clears_it():
    x = case()[0].astype("float32")
    whole = built(PeepholeLSTM(H, return_sequences=True))(x)
    layer = built(PeepholeLSTM(H, return_sequences=True, stateful=True))
    step = tf.function(lambda x: layer(x, training=True))
    for _ in range(2):
        parts = [step(x[:, :2]), step(x[:, 2:])]
        np.testing.assert_allclose(tf.concat(parts, axis=1), whole, atol=1e-6)
        layer.reset_state()


def test_stacks_and_functional_models_with_masks():
    ids = np.array([[3, 1, 2, 0, 0], [4, 0, 0, 0, 0]])

    def model(make):
        keras.utils.set_random_seed(3)
        i = keras.Input((None,), dtype="int32")
        x = keras.layers.Embedding(5, D, mask_zero=True)(i)
        x, h, c = make(return_sequences=True, return_state=True)(x)
        x = make(return_sequences=True)(x, initial_state=[h, c])
        x = keras.layers.Bidirectional(make(return_sequences=True))(x)
        return keras.Model(i, keras.layers.Bidirectional(make())(x))

    ours = model(lambda **kw: PeepholeLSTM(H, **kw))
    theirs = model(lambda **kw: keras.layers.RNN(PeepholeLSTMCell(H), **kw))
    values = randoms(*[w.shape for w in ours.weights], seed=4, dtype="float32")
    ours.set_weights(values)
    theirs.set_weights(values)
    np.testing.assert_allclose(ours(ids), theirs(ids), atol=1e-6)
    np.testing.assert_allclose(ours(ids[1:, :1]), ours(ids)[1:], atol=1e-6)
    cells = keras.layers.RNN([PeepholeLSTMCell(H), PeepholeLSTMCell(2)])
    assert cells(case()[0].astype("float32")).shape == (B, 2)


@pytest.mark.parametrize(("policy", "jit"), [("float32", True), ("mixed_bfloat16", False)])
def test_it_trains(policy, jit):
    keras.utils.set_random_seed(0)
    x = case()[0].astype("float32")
    y = x.sum((1, 2))[:, None]
    layer = PeepholeLSTM(8, dropout=0.1, recurrent_dropout=0.1, dtype=policy)
    model = keras.Sequential([layer, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.02), "mse", jit_compile=jit)
    losses = model.fit(x, y, epochs=25, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2
    assert {v.dtype for v in layer.trainable_variables} == {"float32"}
    assert np.abs(layer.cell.peephole_kernel.numpy()).min() > 0  # they left zero
    assert layer(x).dtype == layer.compute_dtype


# --- Keras's own harness, configuration, files, export -------------------------------------------


# Keras's harness trains on a generator, and says that it will not be shuffled.
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")
class TestKerasHarness(testing.TestCase):
    def test_layer(self):
        for init, shape in [
            ({"dropout": 0.5}, (3, 3)),
            ({"dropout": 0.5, "recurrent_dropout": 0.5}, (3, 3)),
            ({"return_sequences": True, "peephole_regularizer": "l2"}, (3, 2, 3)),
        ]:
            self.run_layer_test(
                PeepholeLSTM,
                init_kwargs={"units": 3, **init},
                input_shape=(3, 2, 4),
                call_kwargs={"training": True},
                expected_output_shape=shape,
                expected_num_losses=len(init) - 1 if "return_sequences" in init else 0,
                expected_num_trainable_weights=4,
                expected_num_non_trainable_weights=0,
                supports_masking=True,
            )

    def test_cell(self):
        self.run_layer_test(
            keras.layers.RNN,
            # No dropout: the harness puts a float32 cell in a float16 RNN, where Keras makes masks
            # of the wrong type and fails (with its own LSTMCell too).
            init_kwargs={"cell": PeepholeLSTMCell(3)},
            input_shape=(3, 2, 4),
            call_kwargs={"training": True},
            expected_output_shape=(3, 3),
            expected_num_trainable_weights=4,
            expected_num_non_trainable_weights=0,
            supports_masking=True,
        )
        self.run_layer_test(
            PeepholeLSTMCell,
            init_kwargs={"units": 3},
            input_shape=(2, 4),
            call_kwargs={"states": [np.ones((2, 3), "float32"), np.ones((2, 3), "float32")]},
            expected_num_trainable_weights=4,
            run_training_check=False,
            run_mixed_precision_check=False,
        )


NOT_DEFAULT = {
    "units": 4,
    "activation": "softsign",
    "recurrent_activation": "hard_sigmoid",
    "use_bias": True,  # False would leave the other options of the bias without effect
    "kernel_initializer": keras.initializers.RandomNormal(stddev=0.3, seed=1),
    "recurrent_initializer": keras.initializers.RandomNormal(stddev=0.3, seed=2),
    "bias_initializer": keras.initializers.RandomNormal(stddev=0.3, seed=3),
    "unit_forget_bias": False,
    "kernel_regularizer": keras.regularizers.L2(0.1),
    "recurrent_regularizer": keras.regularizers.L1(0.2),
    "bias_regularizer": keras.regularizers.L2(0.3),
    "activity_regularizer": keras.regularizers.L2(0.4),
    "kernel_constraint": keras.constraints.MaxNorm(1.5),
    "recurrent_constraint": keras.constraints.MaxNorm(1.6),
    "bias_constraint": keras.constraints.MaxNorm(1.7),
    "dropout": 0.1,
    "recurrent_dropout": 0.2,
    "seed": 5,
    "return_sequences": True,
    "return_state": True,
    "go_backwards": True,
    "stateful": True,
    "unroll": True,
    "zero_output_for_mask": True,
    "peephole_initializer": keras.initializers.RandomNormal(stddev=0.3, seed=4),
    "peephole_regularizer": keras.regularizers.L2(0.5),
    "peephole_constraint": keras.constraints.MaxNorm(1.8),
}


def comparable(value):
    return value.get_config() if hasattr(value, "get_config") else getattr(value, "__name__", value)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("cls", [PeepholeLSTM, PeepholeLSTMCell])
def test_the_config_is_complete(cls, use_bias):
    names = set(inspect.signature(cls.__init__).parameters) - {"self", "kwargs"}
    options = {name: NOT_DEFAULT[name] for name in names} | {"use_bias": use_bias}
    layer = cls(**options, name="mine", dtype="mixed_bfloat16", trainable=False)
    config = layer.get_config()
    assert names | {"name", "dtype", "trainable"} == set(config)
    saved = keras.saving.serialize_keras_object(layer)
    assert saved["registered_name"] == f"peephole>{cls.__name__}"
    again = keras.saving.deserialize_keras_object(saved)
    for name in names:
        for made in layer, again:
            assert comparable(getattr(made, name)) == comparable(options[name]), name
    assert again.name == "mine"
    assert again.compute_dtype == "bfloat16"
    assert not again.trainable


# Keras saves a variable by np.array(), and its `__array__` lacks the `copy` of NumPy 2.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
@pytest.mark.parametrize("cls", [PeepholeLSTM, PeepholeLSTMCell])
def test_a_saved_model_comes_back(cls, tmp_path):
    names = set(inspect.signature(cls.__init__).parameters) - {"self", "kwargs"}
    layer = cls(**{name: NOT_DEFAULT[name] for name in names})
    if cls is PeepholeLSTMCell:
        layer = keras.layers.RNN(layer, return_state=True)
    x = keras.Input((T, D), batch_size=B)
    model = keras.Model(x, layer(x))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    data = case()[0].astype("float32")
    for a, b in zip(model(data), again(data), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_export_answers_in_a_tf1_session(tmp_path):
    x = keras.Input((None, D))
    y = keras.layers.Masking()(x)
    y = keras.layers.Bidirectional(PeepholeLSTM(H, return_sequences=True, dropout=0.2))(y)
    model = keras.Model(x, PeepholeLSTM(H, recurrent_dropout=0.2)(y))
    model.set_weights(randoms(*[w.shape for w in model.weights], seed=6, dtype="float32"))
    archive = keras.export.ExportArchive()
    archive.track(model)
    spec = tf.TensorSpec([None, None, D], tf.float32, name="inputs")
    archive.add_endpoint("serve", lambda x: model(x, training=False), input_signature=[spec])
    archive.write_out(str(tmp_path / "export"), verbose=False)

    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(tmp_path / "export"))
        signature = meta.signature_def["serving_default"]
        (fed,), (fetched,) = signature.inputs.values(), signature.outputs.values()
        data = case()[0].astype("float32")
        data[1, 2:] = 0
        answers = {
            shape: session.run(fetched.name, {fed.name: data[: shape[0], : shape[1]]})
            for shape in [(B, T), (2, 3), (1, 1), (0, T), (B, 0), (0, 0)]
        }
    for (rows, steps), answer in answers.items():
        np.testing.assert_allclose(answer, model(data[:rows, :steps]), atol=1e-6)
    functions = meta.graph_def.library.function
    ops = {node.op for f in functions for node in f.node_def}
    assert not [op for op in ops if "Cudnn" in op or "Xla" in op or "BlockLSTM" in op]
    assert not [f for f in functions if "_XlaMustCompile" in f.attr and f.attr["_XlaMustCompile"].b]


# --- Errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [PeepholeLSTM, PeepholeLSTMCell])
def test_errors_say_what_was_received(cls, monkeypatch):
    for units in 0, -3:
        with pytest.raises(ValueError, match=rf"`units`, expected a positive integer, got {units}"):
            cls(units)
    for name, rate in [("dropout", 1.5), ("recurrent_dropout", -0.1)]:
        with pytest.raises(ValueError, match=rf"`{name}` must be .* Received: {name}={rate}"):
            cls(3, **{name: rate})
    shape, call = ((2, D), {}) if cls is PeepholeLSTM else ((2, T, D), {"states": []})
    with pytest.raises(ValueError, match=rf"expected ndim=.*, found ndim={len(shape)}"):
        cls(3)(np.zeros(shape, "float32"), **call)
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match=r"KERAS_BACKEND=tensorflow .* Received: 'jax'"):
        cls(3)
