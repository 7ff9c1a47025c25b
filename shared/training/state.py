"""The progress of a training, as it is saved in its checkpoints."""

import dataclasses
import json

import tensorflow as tf


@dataclasses.dataclass
class State:
    """The progress of a training, saved with each checkpoint."""

    epoch: int = 0  # finished epochs
    step: int = 0  # finished steps of the current epoch
    metrics: list = dataclasses.field(default_factory=list)  # values of the metric variables
    history: list = dataclasses.field(default_factory=list)  # a dict for each finished epoch
    seconds: float = 0.0  # training time
    best: float | None = None  # smallest value of the monitored metric
    epochs_without_improvement: int = 0
    stopped: bool = False  # whether early stopping has ended the training


class SavedState(tf.train.experimental.PythonState):
    """Keeps the state of a run inside the checkpoint, so that both are from the same moment."""

    def __init__(self, state):
        self.state = state

    def serialize(self):
        """Returns the state as JSON."""
        return json.dumps(dataclasses.asdict(self.state))

    def deserialize(self, string_value):
        """Restores the state from JSON."""
        self.state = State(**json.loads(string_value))
