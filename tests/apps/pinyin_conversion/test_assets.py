"""The assets of a run belong to its settings, or to the run of --init-from."""

from unittest import mock

import numpy as np
import pytest

from apps.pinyin_conversion import config, data
from shared.errors import InputError
from shared.training import runs

PACKAGE = "apps.pinyin_conversion"
NAMES = {"readings.txt", "syllables.npz", "dictionary.npz", "trigram.npz"}


def start(run, *flags):
    """Starts a run of TINY as `train.main` does, and returns it with its assets."""
    with mock.patch.dict(config.PRESETS, tiny=config.TINY):
        run = runs.start(PACKAGE, config.PRESETS, data.splits, ["tiny", f"--run={run}", *flags])
    return run, run.assets(data.build_assets, data.load_assets)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_assets_are_read_back(tmp_path):
    splits = data.splits(config.TINY)
    train = data.PinyinSplit("train", splits["train"][:20])
    built = data.build_assets(config.TINY, train, tmp_path)
    read = data.load_assets(config.TINY, tmp_path)
    assert set(contents(tmp_path)) == NAMES
    assert read.readings.characters == built.readings.characters
    codes = data.encode(config.TINY, read.readings, train[:1])["codes"][0][np.newaxis]
    expected, actual = (a.dictionary.candidates(codes, causal=False) for a in (built, read))
    for a, b in zip(expected, actual, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_restart_with_other_settings_builds_new_assets(tmp_path):
    """A run without a checkpoint may be started again with other settings."""
    run, assets = start(tmp_path / "run", "--max-examples=5", "--lexicon-size=0")
    folder = run.path / "assets"
    first = contents(folder)
    del run
    run, assets = start(tmp_path / "run", "--max-examples=9", "--lexicon-size=100")
    second = contents(folder)
    assert set(first) == set(second) == NAMES
    train = data.PinyinSplit("train", run.splits["train"][:9])
    (tmp_path / "expected").mkdir()
    expected = data.build_assets(run.config, train, tmp_path / "expected")
    assert second["readings.txt"] == (tmp_path / "expected" / "readings.txt").read_bytes()
    assert assets.readings.characters == expected.readings.characters
    for name in NAMES:
        assert first[name] != second[name], name
    del run
    start(tmp_path / "run", "--max-examples=9", "--lexicon-size=100")
    assert set(contents(folder)) == NAMES


def test_init_from_takes_the_assets_of_the_other_run(trained, tmp_path):
    other = trained("pinyin_conversion").run
    run, assets = start(tmp_path / "run", "--max-examples=20", f"--init-from={other}")
    expected = data.load_assets(config.TINY, other / "assets")
    assert assets.readings.characters == expected.readings.characters
    assert contents(run.path / "assets") == contents(other / "assets")


def test_no_sentence_for_the_trigram(tmp_path):
    train = data.PinyinSplit("train", [("", "")])
    with pytest.raises(InputError, match="train has no sentence"):
        data.build_assets(config.TINY, train, tmp_path)
