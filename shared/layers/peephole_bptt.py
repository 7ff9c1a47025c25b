"""Back-propagation through time of the peephole LSTM, written out by hand: for training, and fast.

One step, with the letters of `peephole_cell.py`:

    z = x W + h U + b                           (z_i, z_f, z_c, z_o), each (batch, units)
    i = sigmoid(z_i + p_i * c)
    f = sigmoid(z_f + p_f * c)
    g = tanh(z_c)
    c' = f * c + i * g
    o = sigmoid(z_o + p_o * c')
    h' = o * tanh(c')

Its gradient, from dh and dc, those of h' and c':

    dz_o = dh * tanh(c') * o * (1 - o)
    dc'  = dc + dh * o * (1 - tanh(c')^2) + dz_o * p_o      all that reaches c'
    dz_i = dc' * g * i * (1 - i)
    dz_f = dc' * c * f * (1 - f)
    dz_c = dc' * i * (1 - g^2)
    dh   = dz U^T + dy                          to the step before, whose output has the gradient dy
    dc   = dc' * f + dz_i * p_i + dz_f * p_f

and of the weights, summed over all steps and rows:

    dW = x^T dz     dU = h^T dz     db = dz     dp_i = dz_i * c     dp_f = dz_f * c     dp_o = dz_o * c'

What makes it fast: of the products, only h U and dz U^T are inside the loops, the others are made for
all steps at once; i, f, g, o and c are kept from the forward loop, where TensorFlow's own gradient
keeps every intermediate value; and XLA compiles the loops, which are many small operations. XLA is
also why this is for training only: a SavedModel must not hold it.

Sources: Werbos 1990, "Backpropagation through time"; Gers & Schmidhuber 2000; Greff et al. 2017.
"""

import tensorflow as tf


def peephole_lstm(x, h, c, W, U, b, p, mask=None, drop=None):
    """A peephole LSTM over whole sequences, with its gradient; the equations are at the file's top.

    For graphs, those of `fit` and of `tf.function`: an eager tape records the steps inside, and
    fails at XLA's.

    Args:
        x: (batch, time, input).
        h, c: the initial states, (batch, units).
        W, U, b, p: (input, 4 units), (units, 4 units), (4 units,), (3, units). The gradient is for
            these tensors: give values, not variables.
        mask: bool, (batch, time), or None. A step where it is False leaves the state as it is.
        drop: (batch, units), or None: h is multiplied with it on its way to U, the recurrent dropout.

    Returns:
        h' of all steps, (batch, time, units), and the last h' and c', (batch, units).

    Raises:
        NotImplementedError: on a gradient of its gradient.
    """
    # XLA runs the element-wise half of a step on one core, so two halves of the batch run side by side.
    whole = x.shape[0] == 1 or tf.config.list_physical_devices("GPU")
    middle = (x.shape[0] or tf.shape(x)[0]) // 2
    halves = [slice(None)] if whole else [slice(None, middle), slice(middle, None)]

    def rows(half, *tensors):
        return [t if whole or t is None else t[half] for t in tensors]

    @tf.custom_gradient
    def lstm(x, h, c, W, U, b, p):
        given = [(*rows(s, x, h, c), W, U, p, *rows(s, mask, drop)) for s in halves]
        answers, kept = zip(*[_forward(b, *g) for g in given], strict=True)

        def gradient(dy, dh, dc):
            parts = [
                _backward(*rows(s, dy, dh, dc), *k, *g)
                for s, k, g in zip(halves, kept, given, strict=True)
            ]
            of_rows, of_weights = zip(*parts, strict=True)
            return *_join(of_rows), *map(tf.add_n, zip(*of_weights, strict=True))

        return tuple(_join(answers)), gradient

    return lstm(x, h, c, W, U, b, p)


def _join(parts):
    """Of a list of tensors for each half of the batch, the list for the whole."""
    return parts[0] if len(parts) == 1 else [tf.concat(p, 0) for p in zip(*parts, strict=True)]


@tf.function(jit_compile=True)
def _forward(b, x, h, c, W, U, p, mask, drop):
    """The answer, and what the gradient needs: h' of all steps, (batch, time, units), and c' and the
    gates, (time, batch, ...)."""
    x = tf.transpose(x, [1, 0, 2])
    p_i, p_f, p_o = tf.unstack(p)
    time = tf.shape(x)[0]
    gates = _steps(tf.tensordot(x, W, 1) + b)  # x W + b, until its step
    hs, cs = _room(time, h, h.shape), _room(time, c, c.shape)
    masks = None if mask is None else _steps(tf.transpose(mask)[..., tf.newaxis])

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
            real = masks.read(t)
            h_new, c_new = tf.where(real, h_new, h), tf.where(real, c_new, c)
        gates = gates.write(t, tf.concat([i, f, g, o], axis=-1))
        h_new.set_shape(h.shape)  # which may be known where that of x is not
        c_new.set_shape(c.shape)
        return t + 1, h_new, c_new, gates, hs.write(t, h_new), cs.write(t, c_new)

    _, h, c, gates, hs, cs = tf.while_loop(
        lambda t, *_: t < time, step, (0, h, c, gates, hs, cs), maximum_iterations=time
    )
    ys = tf.transpose(hs.stack()[:time], [1, 0, 2])
    return (ys, h, c), (ys, cs.stack()[:time], gates.stack()[:time])


def _backward(*args):
    """`_backward_loop`, without a gradient: TensorFlow cannot see into XLA's part."""

    @tf.custom_gradient
    def backward(*args):
        def gradient(*_):
            raise NotImplementedError(
                "The training path of PeepholeLSTM has no second-order gradient: call the layer with "
                "`training=False`, or use `keras.layers.RNN(PeepholeLSTMCell(...))`"
            )

        return _backward_loop(*args, *fixed), gradient

    args, fixed = args[:-2], args[-2:]  # mask and drop have no gradient
    return backward(*args)


@tf.function(jit_compile=True)
def _backward_loop(dy, dh, dc, y, cs, gates, x, h, c, W, U, p, mask, drop):
    """The gradients of (x, h, c) and of (W, U, b, p)."""
    x, y, dy = (tf.transpose(a, [1, 0, 2]) for a in (x, y, dy))
    p_i, p_f, p_o = tf.unstack(p)
    time = tf.shape(x)[0]
    before = tf.concat([c[tf.newaxis], cs[:-1]], axis=0)
    arrays = [_steps(a) for a in (dy, before, cs, gates)]
    masks = None if mask is None else _steps(tf.transpose(mask)[..., tf.newaxis])
    dzs = _room(time, gates, gates.shape[1:])
    zero = tf.zeros_like(dc)
    # A product with U^T is faster where U^T is laid out first, unless it is of one row.
    back = {"b": U, "transpose_b": True} if x.shape[1] == 1 else {"b": tf.transpose(U)}

    def step(t, dh, dc, dzs):
        shapes = dh.shape, dc.shape
        dy, c, c_new, gates = [a.read(t) for a in arrays]
        i, f, g, o = tf.split(gates, 4, axis=-1)
        squashed = tf.tanh(c_new)
        dh += dy
        if mask is not None:
            real = masks.read(t)
            past_h, past_c = tf.where(real, zero, dh), tf.where(real, zero, dc)
            dh, dc = tf.where(real, dh, zero), tf.where(real, dc, zero)
        dz_o = dh * squashed * o * (1 - o)
        dc += dh * o * (1 - squashed * squashed) + dz_o * p_o
        dz_i = dc * g * i * (1 - i)
        dz_f = dc * c * f * (1 - f)
        dz_c = dc * i * (1 - g * g)
        dz = tf.concat([dz_i, dz_f, dz_c, dz_o], axis=-1)
        dh = tf.matmul(dz, **back)
        dh = dh if drop is None else dh * drop
        dc = dc * f + dz_i * p_i + dz_f * p_f
        if mask is not None:
            dh, dc = dh + past_h, dc + past_c
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
    dp = tf.stack([_sum(dz_i * before), _sum(dz_f * before), _sum(dz_o * cs)])
    return (dx, dh, dc), (dW, dU, _sum(dz), dp)


def _steps(x):
    """A TensorArray of x, (time, ...); of one step where there are none: XLA wants one to read."""
    none = tf.cast(tf.shape(x)[0] == 0, tf.int32)
    x = tf.pad(x, [[0, none]] + [[0, 0]] * (x.shape.rank - 1))
    return tf.TensorArray(x.dtype, tf.shape(x)[0]).unstack(x)


def _room(time, like, shape):
    """An empty TensorArray for `time` tensors of the shape, or for one."""
    return tf.TensorArray(like.dtype, tf.maximum(time, 1), element_shape=shape)


def _sum(x):
    """x, (time, batch, units), over time and batch; 16 bits would lose the small terms of a long sum."""
    wide = tf.cast(x, tf.float32) if x.dtype.size < 4 else x
    return tf.cast(tf.reduce_sum(wide, axis=[0, 1]), x.dtype)
