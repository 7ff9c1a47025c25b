"""After a power cut the newest files can be short: what is mended, and what is named."""

import keras
import numpy as np
import pytest

from shared.errors import InputError
from shared.files import read_json
from shared.training import runs
from shared.training.checkpoints import Checkpoints, numbers


@pytest.fixture
def unfinished(toy, tmp_path):
    """The folder of a run after 2 of 4 epochs, with two checkpoints."""
    config = toy.Config(epochs=4)
    run = toy.start(tmp_path / "unfinished", config)
    run.assets(toy.build_assets, toy.load_assets)
    toy.fit(run, epochs=2)
    return tmp_path / "unfinished"


@pytest.fixture
def resume(toy, unfinished, capsys):
    """A function: trains the run to its end; returns the model and what was printed to stderr."""

    def trained():
        capsys.readouterr()
        run = toy.start(unfinished, toy.Config(epochs=4))
        assert run.assets(toy.build_assets, toy.load_assets) == "2 d"
        model = toy.fit(run)
        return model, capsys.readouterr().err

    return trained


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory):
    """The run without an interruption: its folder and its model."""
    keras.utils.set_random_seed(0)
    run = toy.start(tmp_path_factory.mktemp("whole") / "run", toy.Config(epochs=4))
    return run.path, toy.fit(run)


def cut(path, share):
    """Keeps a share of the bytes of a file; all of them: fills it with zeros, as some file systems do."""
    content = path.read_bytes()
    kept = int(len(content) * share)
    path.write_bytes(content[:kept] if share < 1 else bytes(len(content)))


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(0)


@pytest.mark.parametrize("share", [0, 0.5, 1])
@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
def test_a_damaged_checkpoint_is_replaced_by_the_one_before(
    unfinished, resume, whole, suffix, share
):
    newest = max(numbers(unfinished / "checkpoints"))
    cut(unfinished / "checkpoints" / f"ckpt-{newest}.{suffix}", share)
    model, err = resume()
    damaged, resuming = err.splitlines()
    assert damaged.startswith(f"{unfinished}/checkpoints/ckpt-{newest} is damaged (")
    assert damaged.endswith(f"): using ckpt-{newest - 1}")
    assert resuming == f"resuming {unfinished} at epoch 2, step 2"
    for a, b in zip(model.get_weights(), whole[1].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    history = [read_json(folder / "metrics.json")["history"] for folder in (unfinished, whole[0])]
    assert history[0] == history[1]


def test_data_of_a_checkpoint_may_be_missing(unfinished, resume):
    newest = max(numbers(unfinished / "checkpoints"))
    (unfinished / "checkpoints" / f"ckpt-{newest}.data-00000-of-00001").unlink()
    assert f"ckpt-{newest} is damaged" in resume()[1]


def test_no_checkpoint_is_whole(unfinished, resume, toy):
    for path in (unfinished / "checkpoints").iterdir():
        cut(path, 0)
    before = toy.digest(unfinished)
    with pytest.raises(
        InputError, match=r"no checkpoint in .* can be restored \(ckpt-\d+: .*another"
    ):
        resume()
    assert toy.digest(unfinished) == before


def test_the_list_of_checkpoints_of_an_earlier_version(unfinished, resume):
    """An empty one is not needed; a run of that version is resumed."""
    (unfinished / "checkpoints" / "checkpoint").touch()
    (unfinished / "checkpoints" / "checkpoint.tmp123").write_text("half")
    (unfinished / "checkpoints" / "ckpt-9_temp").mkdir()
    _, err = resume()
    assert err == f"resuming {unfinished} at epoch 3, step 0\n"
    names = sorted(path.name for path in (unfinished / "checkpoints").iterdir())
    assert len(names) == 4
    assert all(name.startswith("ckpt-") for name in names)


def test_a_checkpoint_of_the_manager_is_restored(tmp_path):
    import tensorflow as tf

    variables = [tf.Variable([1.0, 2.0])]
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(variables=variables), str(tmp_path / "c"), max_to_keep=2
    )
    manager.save()
    variables[0].assign([0.0, 0.0])
    assert Checkpoints(tmp_path / "c", variables=variables).restore()
    assert variables[0].numpy().tolist() == [1.0, 2.0]


@pytest.mark.parametrize("share", [0, 0.5])
def test_metrics_are_written_again(unfinished, resume, whole, share):
    cut(unfinished / "metrics.json", share)
    _, err = resume()
    assert f"{unfinished / 'metrics.json'} is not valid JSON" in err
    assert err.count("\n") == 2
    history = [read_json(folder / "metrics.json")["history"] for folder in (unfinished, whole[0])]
    assert history[0] == history[1]


def test_metrics_of_a_finished_run(toy, finished, capsys):
    """The training is not lost: the same command computes the test result again."""
    cut(finished / "metrics.json", 0.5)
    with pytest.raises(InputError, match=r"metrics\.json is not valid JSON"):
        runs.load(finished)
    run = toy.start(finished)
    assert not run.finished
    assert "metrics.json is not valid JSON" in capsys.readouterr().err
    toy.fit(run)
    run.write_metrics(test={"value": 1.0})
    assert len(runs.load(finished).metrics["history"]) == 1


@pytest.mark.parametrize("share", [0, 0.5])
def test_a_damaged_run_json(toy, unfinished, resume, refusal, share):
    cut(unfinished / "run.json", share)
    before = toy.digest(unfinished)
    line = refusal(resume)
    assert line.startswith(f"error: {unfinished / 'run.json'} is not valid JSON")
    assert "cannot be resumed; choose another --run, or remove" in line
    assert toy.digest(unfinished) == before


def test_run_json_is_written_again_before_the_first_checkpoint(toy, tmp_path):
    run = toy.start(tmp_path / "run")
    run.assets(toy.build_assets, toy.load_assets)
    del run
    cut(tmp_path / "run" / "run.json", 0)
    cut(tmp_path / "run" / "assets" / "vocabulary.txt", 0)
    run = toy.start(tmp_path / "run")
    assert run.assets(toy.build_assets, toy.load_assets) == "2 d"
    assert read_json(tmp_path / "run" / "run.json")["data"] == run.about["data"]


@pytest.mark.parametrize("share", [0, 0.5, 1, None])
def test_the_best_model_is_written_again(unfinished, resume, share):
    """The last epoch was the best one, so the checkpoint has its weights."""
    path = unfinished / "best.keras"
    before = keras.saving.load_model(path).get_weights()
    path.unlink() if share is None else cut(path, share)
    weights = []
    save = runs.Run.save_best_model

    def watched(run):
        save(run)
        weights.append(keras.saving.load_model(path).get_weights())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs.Run, "save_best_model", watched)
        _, err = resume()
    assert f"{path} is damaged or missing: it is written again" in err
    for a, b in zip(weights[0], before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_best_model_of_an_earlier_epoch_is_lost(toy, tmp_path, refusal):
    """Nothing holds its weights any more."""
    run = toy.start(tmp_path / "run", toy.Config(epochs=4, learning_rate=2.0))
    toy.fit(run, epochs=3)
    assert run.state.epochs_without_improvement
    del run
    cut(tmp_path / "run" / "best.keras", 0)
    config = toy.Config(epochs=4, learning_rate=2.0)
    line = refusal(lambda: toy.fit(toy.start(tmp_path / "run", config)))
    assert line.startswith(f"error: {tmp_path / 'run' / 'best.keras'} is damaged or missing")
    assert "choose another --run, or remove" in line


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_a_damaged_best_model_of_a_finished_run(finished, share):
    cut(finished / "best.keras", share)
    with pytest.raises(InputError, match=r"best\.keras is damaged"):
        runs.load(finished).best_model()


@pytest.mark.parametrize("share", [0, 0.5])
def test_a_damaged_asset_is_named(toy, unfinished, finished, resume, refusal, share):
    cut(unfinished / "assets" / "vocabulary.txt", share)
    line = refusal(resume)
    assert line.startswith(f"error: {unfinished / 'assets' / 'vocabulary.txt'} is damaged")
    cut(finished / "assets" / "vocabulary.txt", share)
    with pytest.raises(InputError, match=r"vocabulary\.txt is damaged"):
        runs.load(finished)


# --- Folders whose names contain wildcards -------------------------------------------------------


@pytest.mark.parametrize("name", ["run [a]", "run*", "run?", r"back\slash", r"\[", "[!a]", "{a,b}"])
def test_a_folder_with_wildcards(toy, tmp_path, name, capsys):
    """Two checkpoints are kept, those of other folders are not touched, and the run is resumed."""
    other = Checkpoints(tmp_path / "runs2" / "checkpoints", variables=[keras.Variable(5.0).value])
    other.save()
    before = toy.digest(tmp_path / "runs2")
    folder = tmp_path / name
    run = toy.start(folder, toy.Config(epochs=4))
    toy.fit(run, epochs=2)
    del run
    kept = sorted(path.name.partition(".")[2] for path in (folder / "checkpoints").iterdir())
    assert kept == sorted(["data-00000-of-00001", "index"] * 2)
    capsys.readouterr()
    run = toy.start(folder, toy.Config(epochs=4))
    toy.fit(run)
    assert capsys.readouterr().err == f"resuming {folder} at epoch 3, step 0\n"
    assert run.state.epoch == 4
    run.write_metrics(test={"value": 1.0})
    assert runs.load(folder).best_model().count_params() == 8
    assert toy.digest(tmp_path / "runs2") == before
