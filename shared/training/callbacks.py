"""The callback through which a run follows `fit`."""

import os
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from shared.errors import InputError


class Recorder(keras.callbacks.Callback):
    """Counts steps, shows them, saves; and at each epoch's end keeps the best and decides to stop.

    Args:
        run: the `runs.Run`, whose `state` it keeps.
        monitor: the metric whose smallest value is the best.
        patience: stop after so many epochs without a better one; 0 never stops.
    """

    def __init__(self, run, monitor, patience):
        super().__init__()
        self.run, self.monitor, self.patience = run, monitor, patience

    def on_epoch_begin(self, epoch, logs=None):
        """Takes up the epoch where the run stopped in it."""
        state = self.run.state
        if state["step"]:  # resumed within an epoch: its metrics go on from where they were
            for variable, value in zip(self.model.metrics_variables, state["metrics"], strict=True):
                variable.assign(value)
        self.clock = self.saved = time.monotonic()
        if self.params["steps"] is None:
            raise ValueError("the epoch's length is unknown: dataset.apply(assert_cardinality(n))")
        self.steps = self.params["steps"] + state["step"]
        self.bar = tqdm(
            desc=f"epoch {epoch + 1}/{self.run.config.epochs}",
            total=self.steps,
            initial=state["step"],
            disable=self.run.options.quiet,
            mininterval=0.5 if sys.stderr.isatty() else 30,
            unit="step",
        )

    def on_train_batch_end(self, batch, logs=None):
        """Counts the step; saves when it is time."""
        state = self.run.state
        state["step"] += 1
        now = time.monotonic()
        state["seconds"] += now - self.clock
        self.clock = now
        if self.bar.update():
            self.bar.set_postfix_str(_short(logs), refresh=False)
        # Not after the last step: the epoch is whole only after its validation.
        if now - self.saved >= self.run.options.checkpoint_seconds and state["step"] != self.steps:
            self.run.save()
            self.saved = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        """Keeps the best model, the curve and the checkpoint, in this order: a kill repeats, never loses."""
        run, state = self.run, self.run.state
        self.bar.set_postfix_str(_short(logs))
        self.bar.close()
        state["seconds"] += time.monotonic() - self.clock
        logs = {name: float(value) for name, value in logs.items()}
        if not np.isfinite(logs["loss"]):
            # Nothing is counted or saved, so that the same command fails in the same way.
            raise InputError(
                f"the loss is {logs['loss']} after epoch {epoch + 1}: lower --learning-rate"
            )
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        state["history"].append({"epoch": epoch + 1, **logs})
        # A NaN is never better; without this the first epoch's would stay the best for ever.
        if np.isfinite(logs[self.monitor]) and (
            state["best"] is None or logs[self.monitor] < state["best"]
        ):
            state["best"], state["waited"] = logs[self.monitor], 0
            half = run.path / "best.half.keras"
            self.model.save(half, include_optimizer=False)
            os.replace(half, run.path / "best.keras")
        else:
            state["waited"] += 1
            state["stopped"] = bool(self.patience and state["waited"] >= self.patience)
        state["epoch"], state["step"] = epoch + 1, 0
        run.save()
        run.write_metrics()
        with run.log.as_default():
            for name, value in logs.items():
                tf.summary.scalar(name, value, step=epoch + 1)
        run.log.flush()


def _short(logs):
    return " ".join(f"{name} {float(value):.4g}" for name, value in (logs or {}).items())
