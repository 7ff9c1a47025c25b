"""The peephole LSTM against references that share no code with it: NumPy, BlockLSTM, ONNX."""

import numpy as np
import pytest
import tensorflow as tf

from shared.layers.peephole_lstm import PeepholeLSTM

B, T, D, H = 4, 6, 3, 5
MASKS = {
    "none": None,
    "right_padded": np.arange(T) < np.array([6, 0, 4, 1])[:, None],
    "left_padded": np.arange(T) >= np.array([0, 5, 2, 3])[:, None],
    # The second row is all padding.
    "gaps": (np.random.default_rng(5).random((B, T)) < 0.5) & [[True], [False], [True], [True]],
}


def random_arrays(*shapes, seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) * 0.7 for shape in shapes]


def random_weights(seed=1, dtype="float64"):
    """Returns W, U, b, p. They differ from gate to gate, so that a test sees two gates swapped."""
    return random_arrays((D, 4 * H), (H, 4 * H), (4 * H,), (3, H), seed=seed, dtype=dtype)


def built(layer, values=None):
    """Builds a layer and sets its weights to `values`, or to random values."""
    layer.build((B, T, D))
    values = random_weights(dtype="float32") if values is None else values
    layer.set_weights(values[: len(layer.weights)])
    return layer


# --- NumPy: the forward pass, and back-propagation through time ----------------------------------


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def forward(x, h, c, W, U, b, p, mask=None, backwards=False):
    """Returns the outputs (batch, time, units), the last h and c, and the values `backward` needs."""
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
    """Returns the gradients of x, h0, c0, W, U, b, p, from those of the outputs and the last h and c."""
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
    """Returns x, h0, c0, and the weights of the outputs and of the last h and c in a scalar loss."""
    return random_arrays((B, T, D), (B, H), (B, H), (B, T, H), (B, H), (B, H), seed=seed)


def test_the_numpy_gradient_equals_finite_differences():
    x, h, c, r_ys, r_h, r_c = case()
    variables = [x, h, c, *random_weights()]
    mask = MASKS["gaps"]

    def loss():
        ys, h_last, c_last, _ = forward(*variables, mask)
        return (ys * r_ys).sum() + (h_last * r_h).sum() + (c_last * r_c).sum()

    W, U, _, p = variables[3:]
    gradients = backward(x, W, U, p, forward(*variables, mask)[3], r_ys, r_h, r_c)
    for variable, gradient in zip(variables, gradients, strict=True):
        numeric = np.zeros_like(variable)
        for index in np.ndindex(variable.shape):
            value, e = variable[index], 1e-5
            variable[index] = value + e
            upper_loss = loss()
            variable[index] = value - e
            numeric[index] = (upper_loss - loss()) / (2 * e)
            variable[index] = value
        np.testing.assert_allclose(gradient, numeric, atol=1e-8)


@pytest.mark.parametrize("mode", ["eager", "function", "unknown_shape"])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("mask", MASKS)
def test_outputs_and_gradients_equal_numpy(mask, backwards, mode):
    mask = MASKS[mask]
    x, h, c, r_ys, r_h, r_c = case()
    W, U, b, p = random_weights()
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
        outputs_and_gradients = tf.function(
            outputs_and_gradients, input_signature=spec, autograph=False
        )
    results = outputs_and_gradients(*map(tf.constant, (x, h, c)))

    *expected, tape = forward(x, h, c, W, U, b, p, mask, backwards)
    expected += backward(x, W, U, p, tape, r_ys, r_h, r_c)
    for r, e in zip(results, expected, strict=True):
        np.testing.assert_allclose(r, e, rtol=1e-10, atol=1e-12)


# --- Other implementations -----------------------------------------------------------------------


def test_outputs_and_gradients_equal_block_lstm():
    x, h, c, r_ys = case()[:4]
    x, h, c = (tf.constant(a, tf.float32) for a in (x, h, c))
    layer = built(PeepholeLSTM(H, return_sequences=True))
    W, U, b, p = (tf.constant(w) for w in layer.get_weights())

    def reorder(w):  # from i, f, c, o to BlockLSTM's i, c, f, o
        i, f, g, o = tf.split(w, 4, axis=-1)
        return tf.concat([i, g, f, o], axis=-1)

    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, h, c, W, U, b, p])
        block_lstm = tf.raw_ops.BlockLSTM(
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
        expected_ys = tf.transpose(block_lstm.h, [1, 0, 2])
        ys = layer(x, initial_state=[h, c], training=True)
        expected_loss, loss = (tf.reduce_sum(y * r_ys) for y in (expected_ys, ys))
    np.testing.assert_allclose(ys, expected_ys, atol=1e-6)
    expected_gradients = tape.gradient(expected_loss, [x, h, c, W, U, b, p])
    gradients = tape.gradient(loss, [x, h, c, *[v.value for v in layer.trainable_variables]])
    for g, e in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(g, e, atol=2e-5)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_outputs_equal_the_onnx_operator(direction):
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    seeds = {"forward": [1], "reverse": [2], "bidirectional": [1, 2]}[direction]
    all_weights = [random_weights(seed, "float32") for seed in seeds]
    x = case()[0].astype("float32")
    states = random_arrays((len(seeds), B, H), (len(seeds), B, H), seed=9, dtype="float32")

    def reorder(w):  # from i, f, c, o to ONNX's i, o, f, c
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
        backward_layer = seed == 2
        layer = PeepholeLSTM(
            H, return_sequences=True, return_state=True, go_backwards=backward_layer
        )
        built(layer, all_weights[k])
        ys, h, c = layer(x, initial_state=[states[0][k], states[1][k]])
        ys = ys[:, ::-1] if backward_layer else ys
        np.testing.assert_allclose(ys, Y[:, k].transpose(1, 0, 2), atol=1e-6)
        np.testing.assert_allclose(h, Y_h[k], atol=1e-6)
        np.testing.assert_allclose(c, Y_c[k], atol=1e-6)
