"""The callback that records a run while `fit` trains."""

import sys
import time

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from shared.errors import InputError


class RunCallback(keras.callbacks.Callback):
    """Shows progress, saves checkpoints and, at the end of each epoch, the best model and the history.

    Args:
        run: the `runs.Run` whose `state` is updated.
        monitor: name of the metric; the model with its smallest value is the best.
        patience: number of epochs without improvement after which training stops; 0 never stops.
    """

    def __init__(self, run, monitor, patience):
        super().__init__()
        self.run, self.monitor, self.patience = run, monitor, patience

    def on_epoch_begin(self, epoch, logs=None):
        """Continues the epoch at the step where the run was interrupted."""
        state = self.run.state
        if state.step:  # the metrics of an interrupted epoch continue from their saved values
            for variable, value in zip(self.model.metrics_variables, state.metrics, strict=True):
                variable.assign(value)
        self.clock = self.saved = time.monotonic()
        if self.params["steps"] is None:
            raise ValueError(
                "the number of steps of an epoch is unknown: use dataset.apply(assert_cardinality(n))"
            )
        self.steps = self.params["steps"] + state.step
        self.bar = tqdm(
            desc=f"epoch {epoch + 1}/{self.run.config.epochs}",
            total=self.steps,
            initial=state.step,
            disable=self.run.options.quiet,
            mininterval=0.5 if sys.stderr.isatty() else 30,
            unit="step",
        )

    def on_train_batch_end(self, batch, logs=None):
        """Counts the step, and saves a checkpoint if the last one is old enough."""
        state = self.run.state
        state.step += 1
        now = time.monotonic()
        state.seconds += now - self.clock
        self.clock = now
        if self.bar.update():
            self.bar.set_postfix_str(_format(logs), refresh=False)
        # Not after the last step: the epoch is complete only after its validation.
        if now - self.saved >= self.run.options.checkpoint_seconds and state.step != self.steps:
            self.run.save()
            self.saved = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        """Saves the best model, then the checkpoint, then the history.

        In this order an interruption repeats work at most; it never loses any.
        """
        run, state = self.run, self.run.state
        self.bar.set_postfix_str(_format(logs))
        self.bar.close()
        state.seconds += time.monotonic() - self.clock
        logs = {name: float(value) for name, value in logs.items()}
        if not np.isfinite(logs["loss"]):
            # Nothing is counted or saved, so that the same command fails in the same way.
            raise InputError(
                f"the loss is {logs['loss']} after epoch {epoch + 1}: lower --learning-rate"
            )
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        state.history.append({"epoch": epoch + 1, **logs})
        # A loss of NaN is never the best: nothing would ever be smaller.
        if np.isfinite(logs[self.monitor]) and (
            state.best is None or logs[self.monitor] < state.best
        ):
            state.best, state.epochs_without_improvement = logs[self.monitor], 0
            run.save_best_model()
        else:
            state.epochs_without_improvement += 1
            state.stopped = bool(
                self.patience and state.epochs_without_improvement >= self.patience
            )
        state.epoch, state.step = epoch + 1, 0
        run.save()
        run.write_metrics()
        with run.log.as_default():
            for name, value in logs.items():
                tf.summary.scalar(name, value, step=epoch + 1)
        run.log.flush()


def _format(logs):
    return " ".join(f"{name} {float(value):.4g}" for name, value in (logs or {}).items())
