"""The state of a training, as JSON."""

import dataclasses
import json

from shared.training.state import SavedState, State


def test_state_survives_json():
    assert State() == round_trip(State())
    state = State(
        epoch=3, step=7, metrics=[1.5, [2, 3]], history=[{"epoch": 1, "loss": 0.1 + 0.2}],
        seconds=1 / 3, best=2.5, epochs_without_improvement=2, stopped=True,
    )  # fmt: skip
    assert round_trip(state) == state
    assert {f.name for f in dataclasses.fields(state)} == set(json.loads(serialized(state)))
    # Two states do not share their lists.
    State().history.append(1)
    assert State().history == []


def serialized(state):
    return SavedState(state).serialize()


def round_trip(state):
    saved = SavedState(State())
    saved.deserialize(serialized(state))
    return saved.state
