"""The translation model, an encoder-decoder with attention."""

import keras

from shared.errors import InputError
from shared.layers.attention_decoder import AttentionDecoder
from shared.layers.encoder import BidirectionalEncoder
from shared.layers.seeds import derive_seeds
from shared.layers.tied_embedding import TiedEmbedding


def build(config, assets):
    """Builds the model that predicts each token of a translation from the tokens before it.

        m = encoder(E_x[x])                      x: source tokens, int (batch, source)
        o = decoder(E_y[y], m)                   y: target tokens, shifted right by "</s>", (batch, target)
        logits = dropout(o) E_y^T + b            (batch, target, vocabulary)

    Args:
        config: the app's Config.
        assets: the app's Assets; `build` reads the sizes of its vocabularies.

    Returns:
        An uncompiled `keras.Model` from {"source": int32 (batch, source), "source_length": int32 (batch,),
        "target": int32 (batch, target)} to the logits.

    Raises:
        InputError: `input_feeding` is combined with `recurrent_dropout`.
    """
    if config.input_feeding and config.recurrent_dropout:
        raise InputError(
            "--input-feeding requires --recurrent-dropout 0. "
            f"Received: --recurrent-dropout {config.recurrent_dropout}"
        )
    x = keras.Input((None,), dtype="int32", name="source")
    length = keras.Input((), dtype="int32", name="source_length")
    y = keras.Input((None,), dtype="int32", name="target")
    seeds = derive_seeds(config.seed, step=1000)

    def initializer():
        return keras.initializers.RandomNormal(0.0, config.embedding_dim**-0.5, next(seeds))

    def dropout(features):
        return keras.layers.Dropout(config.dropout, (None, 1, None), next(seeds))(features)

    embed = TiedEmbedding(
        assets.target_vocabulary.size,
        config.embedding_dim,
        embeddings_initializer=initializer(),
        name="embedding",
    )
    embed_source = embed
    if not config.shared_vocabulary:
        embed_source = keras.layers.Embedding(
            assets.source_vocabulary.size,
            config.embedding_dim,
            initializer(),
            name="source_embedding",
        )
    encoder = BidirectionalEncoder(
        config.cell,
        config.units,
        num_layers=config.encoder_layers,
        dropout=config.dropout,
        recurrent_dropout=config.recurrent_dropout,
        layer_norm=config.layer_norm,
        seed=next(seeds),
        name="encoder",
    )
    decoder = AttentionDecoder(
        config.cell,
        config.units,
        output_dim=config.embedding_dim,
        num_layers=config.decoder_layers,
        dropout=config.dropout,
        recurrent_dropout=config.recurrent_dropout,
        layer_norm=config.layer_norm,
        score=config.attention,
        input_feeding=config.input_feeding,
        seed=next(seeds),
        name="decoder",
    )
    m = dropout(encoder(dropout(embed_source(x)), length))
    o = decoder(dropout(embed(y)), m, length)
    logits = embed(dropout(o), reverse=True)
    return keras.Model({"source": x, "source_length": length, "target": y}, logits)
