"""Trains a summarization model, exports it and evaluates it on the test split.

python -m apps.extractive_summarization.train google_compression --data-dir DIR
"""

import keras

from shared.errors import reported
from shared.training import runs
from shared.training.schedules import warmup_cosine

from . import data, evaluate, export
from .calibration import KeepBias
from .config import PRESETS
from .labels import LabelCrossentropy
from .model import build


@reported
def main(argv=None):
    """Trains a model, or resumes its run; then exports and evaluates it."""
    run = runs.start(__package__, PRESETS, data.splits, argv)
    if run.finished:
        return
    config = run.config
    assets = run.assets(data.build_assets, data.load_assets)
    train, valid = data.load(config, run.splits, assets)
    model = build(config, assets)

    steps = config.epochs * train(0).cardinality().numpy()
    model.compile(
        keras.optimizers.AdamW(
            warmup_cosine(config.learning_rate, config.warmup_steps, steps),
            weight_decay=config.weight_decay,
            global_clipnorm=config.clip_norm,
        ),
        LabelCrossentropy(),
    )
    run.restore(model)
    keep_bias = KeepBias(valid, config.decision)
    for epoch in run.epochs():
        model.fit(
            run.remaining(train(epoch)),
            validation_data=valid,
            initial_epoch=epoch,
            epochs=epoch + 1,
            callbacks=[keep_bias, *run.callbacks("val_error", config.patience)],
            verbose=0,
            shuffle=False,
        )
    run.finish(export.write, evaluate.evaluate)


if __name__ == "__main__":
    main()
