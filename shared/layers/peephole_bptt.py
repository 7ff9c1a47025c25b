"""Back-propagation through time of the peephole LSTM with a hand-written gradient, for fast training.

One step, in the notation of `peephole_cell.py`:

    z = x W + h U + b                           (z_i, z_f, z_c, z_o), each (batch, units)
    i = sigmoid(z_i + p_i * c)
    f = sigmoid(z_f + p_f * c)
    g = tanh(z_c)
    c' = f * c + i * g
    o = sigmoid(z_o + p_o * c')
    h' = o * tanh(c')

Its gradient, from dh and dc, the gradients of h' and c':

    dz_o = dh * tanh(c') * o * (1 - o)
    dc'  = dc + dh * o * (1 - tanh(c')^2) + dz_o * p_o      the whole gradient of c'
    dz_i = dc' * g * i * (1 - i)
    dz_f = dc' * c * f * (1 - f)
    dz_c = dc' * i * (1 - g^2)
    dh   = dz U^T + dy                          for the previous step; dy: gradient of its output
    dc   = dc' * f + dz_i * p_i + dz_f * p_f

The gradients of the weights, summed over all steps and rows:

    dW = x^T dz     dU = h^T dz     db = dz     dp_i = dz_i * c     dp_f = dz_f * c     dp_o = dz_o * c'

It is fast for three reasons. Only the products h U and dz U^T are inside the loops; all other products are
computed for all steps at once. The forward loop keeps i, f, g, o and c, where TensorFlow's own gradient keeps
every intermediate value. XLA compiles the loops, which consist of many small operations. Because of XLA, this
code is for training only: TF Serving cannot run a SavedModel with XLA-compiled functions.

Sources: Werbos 1990, "Backpropagation through time"; Gers & Schmidhuber 2000; Greff et al. 2017.
"""

import tensorflow as tf


def peephole_lstm(x, h, c, W, U, b, p, mask=None, drop=None):
    """Computes a peephole LSTM over whole sequences; the equations are at the top of this file.

    It must be called in a graph (`fit`, `tf.function`): an eager gradient tape would record the operations
    inside, and fail at those that XLA compiles.

    Args:
        x: (batch, time, input).
        h, c: the initial states, (batch, units).
        W, U, b, p: (input, 4 units), (units, 4 units), (4 units,), (3, units). They must be tensors, not
            variables.
        mask: bool (batch, time), or None. The states do not change at steps where it is False.
        drop: dropout mask of the recurrent product, (batch, units), or None. h U becomes (h * drop) U.

    Returns:
        Tuple of h' of all steps, (batch, time, units), and the last h' and c', (batch, units).

    Raises:
        NotImplementedError: a second-order gradient is requested.
    """
    # XLA runs the element-wise operations of a step on one core, so on a CPU the two halves of the batch
    # run in parallel.
    undivided = x.shape[0] == 1 or tf.config.list_physical_devices("GPU")
    middle = (x.shape[0] or tf.shape(x)[0]) // 2
    slices = [slice(None)] if undivided else [slice(None, middle), slice(middle, None)]

    def rows(s, *tensors):
        return [t if undivided or t is None else t[s] for t in tensors]

    @tf.custom_gradient
    def lstm(x, h, c, W, U, b, p):
        def arguments(x, h, c, W, U, p):
            return [(*rows(s, x, h, c), W, U, p, *rows(s, mask, drop)) for s in slices]

        # A persistent tape would otherwise differentiate the compiled function as well, which fails.
        *constants, b = map(tf.stop_gradient, (x, h, c, W, U, p, b))
        forward = [_forward(b, *a) for a in arguments(*constants)]
        outputs, residuals = zip(*forward, strict=True)

        def gradient(dy, dh, dc):
            gradients = [
                _backward(*rows(s, dy, dh, dc), *r, *a)
                for s, r, a in zip(slices, residuals, arguments(x, h, c, W, U, p), strict=True)
            ]
            input_gradients, weight_gradients = zip(*gradients, strict=True)
            return *_join(input_gradients), *map(tf.add_n, zip(*weight_gradients, strict=True))

        return tuple(_join(outputs)), gradient

    return lstm(x, h, c, W, U, b, p)


def _join(parts):
    """Concatenates the lists of tensors of the parts of a batch, tensor by tensor, along the rows."""
    return parts[0] if len(parts) == 1 else [tf.concat(p, 0) for p in zip(*parts, strict=True)]


@tf.function(jit_compile=True, autograph=False)
def _forward(b, x, h, c, W, U, p, mask, drop):
    """Runs the forward loop.

    Returns:
        The result of `peephole_lstm`, and the tensors for the gradient: h' of all steps,
        (batch, time, units), c' of all steps, (time, batch, units), and the gates i, f, g, o,
        (time, batch, 4 units).
    """
    x = tf.transpose(x, [1, 0, 2])
    p_i, p_f, p_o = tf.unstack(p)
    time = tf.shape(x)[0]
    # Holds x W + b of each step until the step replaces it with the gates.
    gates = _to_array(tf.tensordot(x, W, 1) + b)
    hs, cs = _empty_array(time, h, h.shape), _empty_array(time, c, c.shape)
    masks = None if mask is None else _to_array(tf.transpose(mask)[..., tf.newaxis])

    def step(t, h, c, gates, hs, cs):
        z = gates.read(t) + tf.matmul(h if drop is None else h * drop, U)
        z_i, z_f, z_c, z_o = tf.split(z, 4, axis=-1)
        i = tf.sigmoid(z_i + p_i * c)
        f = tf.sigmoid(z_f + p_f * c)
        g = tf.tanh(z_c)
        c_new = f * c + i * g
        o = tf.sigmoid(z_o + p_o * c_new)
        h_new = o * tf.tanh(c_new)
        if mask is not None:
            mask_t = masks.read(t)
            h_new, c_new = tf.where(mask_t, h_new, h), tf.where(mask_t, c_new, c)
        gates = gates.write(t, tf.concat([i, f, g, o], axis=-1))
        h_new.set_shape(h.shape)  # the batch size may be known from h, but not from x
        c_new.set_shape(c.shape)
        return t + 1, h_new, c_new, gates, hs.write(t, h_new), cs.write(t, c_new)

    _, h, c, gates, hs, cs = tf.while_loop(
        lambda t, *_: t < time, step, (0, h, c, gates, hs, cs), maximum_iterations=time
    )
    ys = tf.transpose(hs.stack()[:time], [1, 0, 2])
    return (ys, h, c), (ys, cs.stack()[:time], gates.stack()[:time])


def _backward(*args):
    """Runs `_backward_loop`, and raises an error where its own gradient is requested."""

    @tf.custom_gradient
    def backward(*args):
        def gradient(*_):
            raise NotImplementedError(
                "The training path of PeepholeLSTM has no second-order gradient: call the layer with "
                "`training=False`, or use `keras.layers.RNN(PeepholeLSTMCell(...))`"
            )

        return _backward_loop(*args, mask, drop), gradient

    *args, mask, drop = args  # the masks have no gradient
    return backward(*args)


@tf.function(jit_compile=True, autograph=False)
def _backward_loop(dy, dh, dc, y, cs, gates, x, h, c, W, U, p, mask, drop):
    """Returns the gradients of (x, h, c) and of (W, U, b, p)."""
    x, y, dy = (tf.transpose(a, [1, 0, 2]) for a in (x, y, dy))
    p_i, p_f, p_o = tf.unstack(p)
    time = tf.shape(x)[0]
    previous_cs = tf.concat([c[tf.newaxis], cs[:-1]], axis=0)
    arrays = [_to_array(a) for a in (dy, previous_cs, cs, gates)]
    masks = None if mask is None else _to_array(tf.transpose(mask)[..., tf.newaxis])
    dzs = _empty_array(time, gates, gates.shape[1:])
    zero = tf.zeros_like(dc)
    # dz U^T is faster if U^T is transposed once before the loop, except for a single row.
    product = {"b": U, "transpose_b": True} if x.shape[1] == 1 else {"b": tf.transpose(U)}

    def step(t, dh, dc, dzs):
        shapes = dh.shape, dc.shape
        dy, c, c_new, gates = [a.read(t) for a in arrays]
        i, f, g, o = tf.split(gates, 4, axis=-1)
        tanh_c = tf.tanh(c_new)
        dh += dy
        if mask is not None:
            # A masked step hands its gradients on to the step before.
            mask_t = masks.read(t)
            skipped_dh, skipped_dc = tf.where(mask_t, zero, dh), tf.where(mask_t, zero, dc)
            dh, dc = tf.where(mask_t, dh, zero), tf.where(mask_t, dc, zero)
        dz_o = dh * tanh_c * o * (1 - o)
        dc += dh * o * (1 - tanh_c * tanh_c) + dz_o * p_o
        dz_i = dc * g * i * (1 - i)
        dz_f = dc * c * f * (1 - f)
        dz_c = dc * i * (1 - g * g)
        dz = tf.concat([dz_i, dz_f, dz_c, dz_o], axis=-1)
        dh = tf.matmul(dz, **product)
        dh = dh if drop is None else dh * drop
        dc = dc * f + dz_i * p_i + dz_f * p_f
        if mask is not None:
            dh, dc = dh + skipped_dh, dc + skipped_dc
        dh.set_shape(shapes[0])
        dc.set_shape(shapes[1])
        return t - 1, dh, dc, dzs.write(t, dz)

    _, dh, dc, dzs = tf.while_loop(
        lambda t, *_: t >= 0, step, (time - 1, dh, dc, dzs), maximum_iterations=time
    )
    dz = dzs.stack()[:time]
    h = tf.concat([h[tf.newaxis], y[:-1]], axis=0)
    h = h if drop is None else h * drop
    dz_i, dz_f, _, dz_o = tf.split(dz, 4, axis=-1)
    dx = tf.einsum("tbz,dz->btd", dz, W)
    dW = tf.einsum("tbd,tbz->dz", x, dz)
    dU = tf.einsum("tbh,tbz->hz", h, dz)
    dp = tf.stack([_sum(dz_i * previous_cs), _sum(dz_f * previous_cs), _sum(dz_o * cs)])
    return (dx, dh, dc), (dW, dU, _sum(dz), dp)


def _to_array(x):
    """Returns a TensorArray of x, (time, ...); without steps, of one step of zeros, as XLA requires."""
    padding = tf.cast(tf.shape(x)[0] == 0, tf.int32)
    x = tf.pad(x, [[0, padding]] + [[0, 0]] * (x.shape.rank - 1))
    return tf.TensorArray(x.dtype, tf.shape(x)[0]).unstack(x)


def _empty_array(time, like, shape):
    """Returns an empty TensorArray of `max(time, 1)` tensors of `shape`, with the type of `like`."""
    return tf.TensorArray(like.dtype, tf.maximum(time, 1), element_shape=shape)


def _sum(x):
    """Sums x, (time, batch, units), over time and batch; in 32 bits, since 16 would lose small terms."""
    wide = tf.cast(x, tf.float32) if x.dtype.size < 4 else x
    return tf.cast(tf.reduce_sum(wide, axis=[0, 1]), x.dtype)
