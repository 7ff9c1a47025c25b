"""Trains a captioning model, exports it and evaluates it on the test images.

python -m apps.image_captioning.train flickr8k --data-dir DIR
"""

import keras

from shared.errors import InputError, reported
from shared.training import runs
from shared.training.losses import SmoothedCrossentropy
from shared.training.schedules import warmup_cosine

from . import data, evaluate, export
from .config import PRESETS
from .model import build
from .self_critical import SelfCritical


@reported
def main(argv=None):
    """Trains a model, or resumes its run; then exports and evaluates it."""
    run = runs.start(__package__, PRESETS, data.splits, argv)
    if run.finished:
        return
    config = run.config
    if config.objective == "cider" and not run.options.init_from:
        raise InputError("--objective cider needs --init-from with a run of cross-entropy")
    assets = run.assets(data.build_assets, data.load_assets)
    model = build(config, assets)
    if config.objective == "cider":
        training = SelfCritical(model, config, run.splits, assets)
        train, valid, loss = training.epoch, None, training.loss
        callbacks, monitor = [training.callback()], "val_negative_cider"
    else:
        train, valid = data.load(config, run.splits, assets)
        loss = SmoothedCrossentropy(config.label_smoothing)
        callbacks, monitor = [], "val_loss"

    steps = config.epochs * train(0).cardinality().numpy()
    model.compile(
        keras.optimizers.AdamW(
            warmup_cosine(config.learning_rate, config.warmup_steps, steps),
            weight_decay=config.weight_decay,
            global_clipnorm=config.clip_norm,
        ),
        loss,
    )
    run.restore(model)
    for epoch in run.epochs():
        model.fit(
            run.remaining(train(epoch)),
            validation_data=valid,
            initial_epoch=epoch,
            epochs=epoch + 1,
            callbacks=[*callbacks, *run.callbacks(monitor, config.patience)],
            verbose=0,
            shuffle=False,
        )
    run.finish(export.write, evaluate.evaluate)


if __name__ == "__main__":
    main()
