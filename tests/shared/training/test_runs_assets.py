"""What a run takes from its training data or from another run: assets and weights; and its card."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.files import read_json, write_json
from shared.training import assets, runs

# --- Assets --------------------------------------------------------------------------------------


def assets_of(toy, run):
    return run.assets(toy.build_assets, toy.load_assets)


def test_assets_are_built_once(toy, tmp_path):
    calls = []

    def build(config, train, folder):
        calls.append(list(train))
        toy.build_assets(config, train, folder)

    run = toy.start(tmp_path / "run")
    assert run.assets(build, toy.load_assets) == "2 d"
    toy.fit(run)
    del run
    assert toy.start(tmp_path / "run").assets(build, toy.load_assets) == "2 d"
    assert calls == [["d"]]


def test_other_settings_before_the_first_checkpoint_build_new_assets(toy, tmp_path):
    run = toy.start(tmp_path / "run", toy.Config(units=5), train="wrong")
    assert assets_of(toy, run) == "5 wrong"
    (run.path / "assets" / "table.npz").touch()  # a file that the new settings do not write
    del run
    run = toy.start(tmp_path / "run")
    assert assets_of(toy, run) == "2 d"
    assert [p.name for p in (run.path / "assets").iterdir()] == ["vocabulary.txt"]
    assert read_json(run.path / "run.json")["config"]["units"] == 2


def test_an_error_while_assets_are_built_leaves_none(toy, tmp_path):
    def broken(config, train, folder):
        toy.build_assets(config, train, folder)
        raise RuntimeError("no memory")

    run = toy.start(tmp_path / "run")
    with pytest.raises(RuntimeError, match="no memory"):
        run.assets(broken, toy.load_assets)
    assert not (tmp_path / "run" / "assets").exists()
    del run
    run = toy.start(tmp_path / "run")
    assert assets_of(toy, run) == "2 d"
    assert sorted(p.name for p in run.path.iterdir()) == [
        "assets",
        "assets.json",
        "lock",
        "run.json",
    ]


def test_init_from_takes_the_assets_that_the_weights_belong_to(toy, finished, tmp_path):
    (finished / "assets" / "vocabulary.txt").write_text("</s>\n<unk>\n漢\n", encoding="utf-8")
    (finished / "assets" / "tables").mkdir()
    (finished / "assets" / "tables" / "readings.npz").write_bytes(b"\xff")
    write_json(finished / "assets.json", assets.hashes(finished / "assets"))
    for options in ({}, {"dry_run": True}):
        run = toy.start(tmp_path / "new", train="other", init_from=finished, **options)
        assert assets_of(toy, run) == "</s>\n<unk>\n漢\n"
    assert (tmp_path / "new" / "assets" / "tables" / "readings.npz").read_bytes() == b"\xff"


def test_init_from_a_run_without_assets(toy, finished, tmp_path, refusal):
    (finished / "assets").rename(finished / "elsewhere")
    run = toy.start(tmp_path / "new", init_from=finished)
    line = refusal(lambda: assets_of(toy, run))
    assert line.startswith(f"error: --init-from {finished}: the run has no assets")
    assert not (tmp_path / "new" / "assets").exists()


# --- Weights -------------------------------------------------------------------------------------


def test_init_from_begins_with_the_weights_of_the_other_run(toy, finished, tmp_path, refusal):
    source = runs.load(finished).best_model()
    run = toy.start(tmp_path / "new", toy.Config(epochs=0), init_from=finished)
    model = toy.fit(run)
    assert len(model.trainable_variables) == 2
    for a, b in zip(model.trainable_variables, source.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)
    assert run.about["init_from"] == "toy"
    toy.fit(toy.start(tmp_path / "trained", init_from=finished))
    line = refusal(lambda: toy.start(tmp_path / "trained"))
    assert "init_from: 'toy' in the run, None now" in line


def test_init_from_reports_what_does_not_fit(toy, finished, tmp_path, refusal):
    wide = lambda: toy.fit(  # noqa: E731
        toy.start(tmp_path / "new", toy.Config(units=3), init_from=finished)
    )
    assert "dense/kernel has shape (3, 2); this model needs shape (3, 3)" in refusal(wide)
    line = refusal(lambda: toy.start(tmp_path / "b", init_from=tmp_path / "c"))
    assert "c is not the folder of a run" in line
    toy.fit(toy.start(tmp_path / "unfinished", toy.Config(epochs=2)), epochs=1)
    line = refusal(lambda: toy.start(tmp_path / "b", init_from=tmp_path / "unfinished"))
    assert "unfinished is not finished" in line
    assert not (tmp_path / "b").exists()


@keras.saving.register_keras_serializable(package="tests")
class Counter(keras.layers.Layer):
    """Adds to a state at each call, which is saved with the weights."""

    def build(self, shape):
        self.state = self.add_weight(shape=(1,), initializer="zeros", trainable=False, name="state")

    def call(self, x):
        self.state.assign_add([1.0])
        return x


@keras.saving.register_keras_serializable(package="tests")
class StatefulModel(keras.Model):
    @property
    def state_variables(self):
        return [self.get_layer("counter").state]


def frozen_model(units=2):
    """A model with a frozen part, batch normalization, dropout and a state."""
    x = keras.Input((3,))
    encoder = keras.Sequential(
        [keras.layers.Dense(4, name="projection"), keras.layers.BatchNormalization(name="norm")],
        name="encoder",
    )
    encoder.trainable = False
    y = keras.layers.BatchNormalization(name="norm")(encoder(x))
    y = keras.layers.Dropout(0.5, seed=1)(Counter(name="counter")(y))
    return StatefulModel(x, keras.layers.Dense(units, name="dense")(y))


@pytest.fixture(scope="module")
def frozen(toy, tmp_path_factory):
    """The folder of a finished run whose model has a frozen part; no weight has its initial value."""
    model = frozen_model()
    rng = np.random.default_rng(0)
    for variable in model.weights:  # those of the encoder come first
        variable.assign(rng.uniform(0.5, 0.9, variable.shape))
    return toy.train(tmp_path_factory.mktemp("frozen") / "run", model=model)


def test_init_from_copies_frozen_weights_too(toy, frozen, tmp_path):
    source = runs.load(frozen).best_model()
    model = frozen_model()
    before = {v.path: np.asarray(v) for v in model.weights}
    toy.fit(toy.start(tmp_path / "new", toy.Config(epochs=0), init_from=frozen), model=model)
    assert [v.path for v in model.weights if "moving_mean" in v.path] == [
        "encoder/norm/moving_mean", "norm/moving_mean",
    ]  # fmt: skip
    for variable, other in zip(model.weights, source.weights, strict=True):
        if variable.path == "counter/state":  # a state is not a weight
            assert np.asarray(variable) == 0 != np.asarray(other)
            continue
        np.testing.assert_array_equal(variable, other, variable.path)
        assert not np.array_equal(variable, before[variable.path]), variable.path


def test_init_from_a_model_with_other_layers(toy, frozen, finished, tmp_path, refusal):
    start = lambda source: toy.start(tmp_path / "new", init_from=source)  # noqa: E731
    line = refusal(lambda: toy.fit(start(frozen)))
    assert "its model has projection/kernel where this model has dense/kernel" in line
    line = refusal(lambda: toy.fit(start(finished), model=frozen_model()))
    assert "its model has dense/kernel where this model has encoder/projection/kernel" in line
    x = keras.Input((3,))
    hidden = keras.layers.Dense(2, name="dense")(x)
    deeper = keras.Model(x, keras.layers.Dense(2, name="output")(hidden))
    line = refusal(lambda: toy.fit(start(finished), model=deeper))
    assert "its model has no weight where this model has output/kernel" in line


def test_a_frozen_part_stays_frozen(frozen):
    rng = np.random.default_rng(0)
    best = runs.load(frozen).best_model()
    for variable in best.get_layer("encoder").weights:
        expected = rng.uniform(0.5, 0.9, variable.shape).astype(np.float32)
        np.testing.assert_array_equal(variable, expected)
    assert best.get_layer("encoder").trainable_variables == []


# --- The card ------------------------------------------------------------------------------------


def test_the_card_counts_frozen_parameters_but_no_states(frozen):
    run = runs.load(frozen)
    card = run.card(run.best_model())
    assert card["trainable_parameters"] == 2 * 4 + (4 * 2 + 2)  # gamma and beta; dense
    encoder = (3 * 4 + 4) + 4 * 4
    assert card["parameters"] == encoder + 4 * 4 + (4 * 2 + 2)
    assert json.loads(json.dumps(card)) == card


def test_the_card_says_nothing_of_where_the_data_lie(toy, tmp_path):
    folder, private = tmp_path / "placed", str(tmp_path / "private")
    toy.train(folder, toy.Config(data_dir=(private, private)))
    assert "private" in (folder / "run.json").read_text()  # for whoever resumes the run
    run = runs.load(folder)
    card = run.card(run.best_model())
    assert card["config"]["data_dir"] == []
    assert "private" not in json.dumps(card)
    assert "--data-dir DIR DIR" in card["command"]
    assert card["trainable_parameters"] == card["parameters"] == 2 * 3 + 2
    assert run.config_of(toy.Config).data_dir == (private, private)


def test_a_model_without_seeds_or_states(toy, finished):
    """The count is that of Keras where Keras counts the same."""
    run = runs.load(finished)
    model = run.best_model()
    assert run.card(model)["parameters"] == model.count_params()
    assert all(isinstance(v.value, tf.Variable) for v in model.weights)
