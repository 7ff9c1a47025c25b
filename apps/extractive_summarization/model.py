"""The summarization models: labels of words, or of sentences."""

import keras
import tensorflow as tf

from shared.layers.encoder import BidirectionalEncoder
from shared.layers.seeds import derive_seeds

from .centrality import NUM_FEATURES
from .labels import LabelDecoder
from .sentence_model import SentenceEncoder, SentenceScore
from .units import MAX_CHARACTERS
from .word_model import WordFeatures


def build(config, assets):
    """Builds the model that labels each unit of a text with 1 (keep) or 0 (drop).

        level word:      x = features(w, c)        w, c: words and their characters
                         l = A bidirectional(x) + a                               (batch, time, 2)
        level sentence:  s = encoder(E[w])         w: words of each sentence; s: (batch, sentences, units)
                         h = bidirectional([s; f])      f: centrality of the sentences
                         l = [0; score(h, f)]      see `SentenceScore`
        log p = decoder(l)                         see `LabelDecoder`

    Args:
        config: the app's Config.
        assets: the app's Assets; `build` reads the sizes of its vocabularies.

    Returns:
        An uncompiled `keras.Model` to log p, float32 (batch, time, 2, 2). Its inputs are, at the level word,
        {"words": int32 (batch, time), "characters": int32 (batch, time, `MAX_CHARACTERS`), if there are
        filters for them, "length": int32 (batch,)}; at the level sentence, {"words": int32 (batch,
        sentences, words), "length": int32 (batch,), the number of sentences, "centrality": float32 (batch,
        sentences, features), if it is used}. Words and characters are padded with 0.
    """
    seeds = derive_seeds(config.seed, step=1000)
    level = _word_level if config.level == "word" else _sentence_level
    inputs, logits = level(config, assets, seeds)
    decoder = LabelDecoder(config.decoder, name="decoder")
    return keras.Model(inputs, decoder(logits, inputs["length"]))


def parts(model):
    """Returns the parts of `build`'s model that serve.

    Returns:
        logits: a function of a dict of tensors to the logits, (batch, time, 2). At the level word, these are
            the inputs of `model`; at the level sentence, there are "vectors", float (batch, sentences,
            units), in place of "words".
        decoder: the `LabelDecoder`.
        encoder: the `SentenceEncoder`, which computes the vectors; None at the level word.
    """
    layers = {layer.name: layer for layer in model.layers}

    def of_words(inputs):
        x = layers["word_features"](inputs["words"], inputs.get("characters"))
        return layers["output_projection"](layers["recurrent"](x, inputs["length"]))

    def of_sentences(inputs):
        x, f = inputs["vectors"], inputs.get("centrality")
        x = x if f is None else tf.concat([x, tf.cast(f, x.dtype)], -1)
        h = layers["recurrent"](x, inputs["length"])
        return layers["score"](h, inputs["length"], f)

    encoder = layers.get("sentence_encoder")
    return of_sentences if encoder else of_words, layers["decoder"], encoder


def _word_level(config, assets, seeds):
    """Returns the inputs and the logits."""
    words = keras.Input((None,), dtype="int32", name="words")
    length = keras.Input((), dtype="int32", name="length")
    inputs = {"words": words, "length": length}
    if config.char_filters:
        shape = (None, MAX_CHARACTERS)
        inputs["characters"] = keras.Input(shape, dtype="int32", name="characters")
    features = WordFeatures(
        assets.words.size,
        config.embedding_dim,
        assets.characters.size,
        config.char_filters,
        config.position_dim,
        next(seeds),
        name="word_features",
    )
    x = _dropout(config, features(words, inputs.get("characters")), seeds)
    h = _recurrent(config, x, length, seeds)
    glorot = keras.initializers.GlorotUniform(next(seeds))
    output = keras.layers.Dense(2, kernel_initializer=glorot, name="output_projection")
    return inputs, output(h)


def _sentence_level(config, assets, seeds):
    """Returns the inputs and the logits."""
    words = keras.Input((None, None), dtype="int32", name="words")
    length = keras.Input((), dtype="int32", name="length")
    inputs = {"words": words, "length": length}
    num_features, f = NUM_FEATURES[config.centrality], None
    if num_features:
        f = keras.Input((None, num_features), dtype="float32", name="centrality")
        inputs["centrality"] = f
    encoder = SentenceEncoder(
        assets.words.size,
        config.embedding_dim,
        config.units,
        config.sentence_encoder,
        config.cell,
        config.dropout,
        next(seeds),
        name="sentence_encoder",
    )
    s = _dropout(config, encoder(words), seeds)
    x = s if f is None else keras.layers.Concatenate()([s, f])
    h = _recurrent(config, x, length, seeds)
    return inputs, SentenceScore(config.novelty, next(seeds), name="score")(h, length, f)


def _dropout(config, features, seeds):
    return keras.layers.Dropout(config.dropout, (None, 1, None), next(seeds))(features)


def _recurrent(config, x, length, seeds):
    """Returns the outputs of the recurrent layers, with dropout."""
    encoder = BidirectionalEncoder(
        config.cell,
        config.units,
        config.num_layers,
        config.dropout,
        config.recurrent_dropout,
        seed=next(seeds),
        scale=False,
        name="recurrent",
    )
    return _dropout(config, encoder(x, length), seeds)
