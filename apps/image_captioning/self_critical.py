"""Training that maximizes CIDEr-D itself, the reward of captions that the model samples.

    loss = -1 / (N K) sum_ik (r_ik - b_ik) log p(c_ik)      c_ik: K sampled captions of each of N images
    b_ik = mean_{j != k} r_ij, 0 if K = 1                   r: CIDEr-D, the end of a caption included

Rennie et al. 2017, "Self-critical sequence training", with the baseline of Luo 2020, "A better variant of
self-critical sequence training". Cross-entropy rewards each token after the tokens of a person; this rewards
whole captions of the model's own. It continues a model that was trained by cross-entropy.
"""

import collections

import keras
import numpy as np
import tensorflow as tf

from shared.text.vocabulary import END, UNKNOWN
from shared.training.losses import SmoothedCrossentropy

from . import data, encoders
from .metrics import CiderD
from .model import parts


class SelfCritical:
    """The batches and the validation of this training.

    Args:
        model: the model of `model.build`, which samples the captions.
        config: the app's Config; `batch_size` is the number of sampled captions.
        splits: {name: `Split`}.
        assets: `data.Assets`.

    Raises:
        InputError: most images of a split are damaged.
    """

    def __init__(self, model, config, splits, assets):
        self.model, self.config, self.assets = model, config, assets
        train = data.used_images(config, splits["train"])
        self.train, self.valid = (self._images(split) for split in (train, splits["valid"]))
        self.batch_size = max(1, config.batch_size // config.samples)
        self.rewards = []

    @property
    def loss(self):
        """The loss of a sum over captions, whose weights have the rewards and the number of captions."""
        return SmoothedCrossentropy(0.0, reduction="sum")

    def epoch(self, epoch):
        """Returns the batches of an epoch, a `tf.data.Dataset` like that of `data.load`.

        The captions are sampled by the model as it is when the batch is read. The weight of a token is
        (r - b) / (N K) of its caption.
        """
        count = len(self.train.rows)
        rng = np.random.default_rng([self.config.seed, epoch])
        order = rng.permutation(count)
        begins = np.arange(0, count, self.batch_size)
        seeds = rng.integers(0, 2**31 - 1, [len(begins), 2], np.int32)

        def batch_of(begin, seed):
            rows = order[begin : begin + self.batch_size]
            ids, weights = self._sampled(rows, seed)
            return np.repeat(self.train.values(rows), self.config.samples, 0), ids, weights

        def to_inputs(begin, seed):
            values, ids, weights = tf.numpy_function(
                batch_of, [begin, seed], [tf.float32, tf.int32, tf.float32], stateful=True
            )
            values = tf.ensure_shape(values, [None, *self.train.shape])
            ids, weights = (tf.ensure_shape(t, [None, None]) for t in (ids, weights))
            captions = tf.pad(ids, [[0, 0], [1, 0]], constant_values=END)[:, :-1]
            return {"images": values, "captions": captions}, ids, weights

        # A batch must not be sampled before the step of the batch before it.
        options = tf.data.Options()
        options.experimental_optimization.inject_prefetch = False
        dataset = tf.data.Dataset.from_tensor_slices((begins, seeds)).map(to_inputs)
        return dataset.with_options(options)

    def callback(self):
        """Returns the callback that adds `negative_cider` and `val_negative_cider` to the logs.

        The first is that of the sampled captions, the second that of the most probable tokens on the
        validation images. They are negative, because the smallest value is the best.
        """
        return _Validation(self)

    def validate(self):
        """Returns the mean CIDEr-D of greedy captions of the validation images."""
        scores = []
        for begin in range(0, len(self.valid.rows), 64):
            rows = range(begin, min(begin + 64, len(self.valid.rows)))
            ids = self._search(tf.constant(self.valid.values(rows)), 1, None).numpy()
            scores += [
                self.valid.cider.score(i, _tokens(y)) for i, y in zip(rows, ids, strict=True)
            ]
        return float(np.mean(scores))

    def _images(self, split):
        cache = data.features(self.config, split, self.assets)
        columns = data.encode(self.config, self.assets, split, cache)
        references = collections.defaultdict(list)
        rows = columns["rows"].flat_values.numpy()
        for row, ids in zip(rows, columns["captions"].to_list(), strict=True):
            references[row].append(ids)
        shape = None
        if not encoders.is_trained(self.config):
            shape = self.assets.encoder.output_shape[1:]
        return _Images(cache, references, shape)

    def _sampled(self, rows, seed):
        """Samples captions of images; returns ids and weights, (captions, time)."""
        samples = self.config.samples
        values = tf.constant(self.train.values(rows))
        ids = self._search(values, samples, tf.constant(seed)).numpy()
        numbers = np.repeat(rows, samples)
        score = self.train.cider.score
        rewards = [score(i, _tokens(y)) for i, y in zip(numbers, ids, strict=True)]
        rewards = np.reshape(rewards, [len(rows), samples])
        self.rewards.append(rewards.mean())
        others = (rewards.sum(1, keepdims=True) - rewards) / max(1, samples - 1)
        advantages = (rewards - others).reshape(-1, 1) / rewards.size
        ids = np.pad(ids, ((0, 0), (0, -ids.shape[1] % self.config.pad_to_multiple_of)))
        # The first END is a token of the caption, too.
        is_token = np.cumsum(ids == END, 1) - (ids == END) == 0
        return ids, (advantages * is_token).astype(np.float32)

    @tf.function(reduce_retracing=True, autograph=False)
    def _search(self, values, samples, seed):
        """Captions images in inference, token by token.

        Args:
            values: what the model reads of each image, float32 (batch, ...).
            samples: number of captions of each image.
            seed: int32 (2,); None takes the most probable tokens.

        Returns:
            int32 (batch * samples, time), padded with END.
        """
        encoder, grid, embedding, decoder = parts(self.model)
        memory = grid(values if encoder is None else encoder(values, training=False))
        keys = decoder.attention.keys(memory)
        states = [tf.repeat(s, samples, 0) for s in decoder.initial_states(memory)]
        rows = tf.shape(memory)[0] * samples
        time = self.config.max_tokens
        banned = tf.one_hot(UNKNOWN, self.assets.vocabulary.size, 1e9)

        def body(t, y, done, states, ids):
            o, states, _ = decoder.step(embedding(y), states, memory, keys)
            logits = tf.cast(embedding(o, reverse=True), tf.float32) - banned
            if (
                seed is not None
            ):  # the maximum of logits with Gumbel noise is a sample of their softmax
                uniform = tf.random.stateless_uniform(
                    tf.shape(logits), seed + tf.stack([0, t]), 1e-20, 1.0
                )
                logits -= tf.math.log(-tf.math.log(uniform))
            y = tf.where(done, END, tf.argmax(logits, -1, tf.int32))
            return t + 1, y, done | (y == END), states, ids.write(t, y)

        t, *_, ids = tf.while_loop(
            lambda t, y, done, *_: (t < time) & ~tf.reduce_all(done),
            body,
            (
                0,
                tf.fill([rows], END),
                tf.fill([rows], False),
                states,
                tf.TensorArray(tf.int32, time, element_shape=[None]),
            ),
        )
        return tf.transpose(ids.stack()[:t])


class _Images:
    """The images of a split that are not damaged, numbered from 0, and the scores of their captions.

    Args:
        cache: `FeatureCache` of the split.
        references: {row of the cache: list of captions, lists of ids with END}.
        shape: shape of what the model reads of an image; None: that of the cache.
    """

    def __init__(self, cache, references, shape):
        self.rows, self.cider = list(references), CiderD(list(references.values()))
        self.shape = shape or (int(cache.lengths.max()), *cache.shape)
        self._cache = cache

    def values(self, numbers):
        """Returns what the model reads of images, float32 (images, ...)."""
        values = np.stack([self._cache[self.rows[i]] for i in numbers]).astype(np.float32)
        return values.reshape(-1, *self.shape)


class _Validation(keras.callbacks.Callback):
    def __init__(self, training):
        super().__init__()
        self.training = training

    def on_epoch_begin(self, epoch, logs=None):
        self.training.rewards.clear()

    def on_epoch_end(self, epoch, logs=None):
        logs["negative_cider"] = -float(np.mean(self.training.rewards))
        logs["val_negative_cider"] = -self.training.validate()


def _tokens(ids):
    """Returns the ids of a caption, END included."""
    ids = ids.tolist()
    return ids[: ids.index(END) + 1] if END in ids else ids
