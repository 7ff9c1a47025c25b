"""Trains a translation model, exports it, and scores it on the test pairs.

python -m apps.machine_translation.train multi30k_en_de --data-dir DIR
"""

import keras

from shared import cli, results
from shared.errors import reported
from shared.serving.export import promote, versions
from shared.training import runs

from . import data, evaluate, export
from .config import PRESETS
from .model import SmoothedCrossentropy, build


@reported
def main(argv=None):
    """Trains, or goes on with, a run."""
    preset, config, options = cli.parse(__package__, PRESETS, argv)
    run = runs.Run(__package__, preset, PRESETS, config, options, data.digests(config))
    if run.finished:
        print(f"{run.path} is finished; to start over, remove it or choose another --run")
        return
    options.seed(config.seed)
    train, valid, *vocabularies = data.load(config, run.path)
    model = build(config, *vocabularies)

    steps = config.epochs * train(0).cardinality().numpy()
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(1, steps - config.warmup_steps),
        warmup_target=config.learning_rate,
        warmup_steps=config.warmup_steps,
    )
    model.compile(
        keras.optimizers.AdamW(
            rate, weight_decay=config.weight_decay, global_clipnorm=config.clip_norm
        ),
        SmoothedCrossentropy(config.label_smoothing),
    )
    run.restore(model)
    for epoch in run.epochs():
        model.fit(
            run.remaining(train(epoch)),
            validation_data=valid,
            initial_epoch=epoch,
            epochs=epoch + 1,
            callbacks=run.callbacks(patience=config.patience),
            verbose=0,
            shuffle=False,
        )
    if options.dry_run:
        print("dry run: one step was taken, nothing is written")
        return

    folder = run.path / "saved_model"
    if not versions(folder):
        promote(lambda half: export.write(run, half), folder)
    test = evaluate.evaluate(folder, config, run.path / "predictions.jsonl")
    run.record(test)
    print(f"{results.headline(test)}\nnext: python -m {__package__}.export {run.path}")


if __name__ == "__main__":
    main()
