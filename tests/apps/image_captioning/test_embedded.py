"""The drawn scenes and their captions."""

import io

import numpy as np
import pytest
from PIL import Image

from apps.image_captioning import embedded
from apps.image_captioning.embedded import Scene, SceneSplit, Thing, captions, draw

RED = Thing("small", "striped", "red", "circle")
BLUE = Thing("large", "", "blue", "cross")


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        (
            Scene((RED,)),
            ["a small striped red circle", "there is a small striped red circle"],
        ),
        (Scene((BLUE,), 3), ["three large blue crosses", "there are three large blue crosses"]),
        (
            Scene((RED, BLUE), 1, "above"),
            [
                "a small striped red circle is above a large blue cross",
                "a large blue cross is below a small striped red circle",
            ],
        ),
        (
            Scene((BLUE, RED), 1, "left of"),
            [
                "a large blue cross is left of a small striped red circle",
                "a small striped red circle is right of a large blue cross",
            ],
        ),
    ],
)
def test_captions_name_everything(scene, expected):
    assert captions(scene) == expected


def test_no_scene_is_in_two_splits():
    scenes = embedded._scenes()
    assert {name: len(part) for name, part in scenes.items()} == embedded.COUNTS
    everything = [scene for part in scenes.values() for scene in part]
    assert len(set(everything)) == len(everything)


def test_unseen_pairs_are_in_their_test_set_only():
    for name, scenes in embedded._scenes().items():
        with_unseen = [any(t[2:] in embedded.UNSEEN_PAIRS for t in s.things) for s in scenes]
        assert with_unseen == [name == "unseen_pairs"] * len(scenes)


def test_every_word_is_seen_in_training():
    words = {
        name: {word for target in SceneSplit(name).targets for word in target.split()}
        for name in embedded.COUNTS
    }
    assert words["test"] | words["valid"] | words["unseen_pairs"] <= words["train"]


def pixels(scene, seed=0):
    file = draw(scene, np.random.default_rng(seed))
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"), float)


def centre(image, colour):
    """Returns the mean place (x, y) of the pixels of a colour, and their number."""
    distance = np.abs(image - embedded.COLOURS[colour]).sum(-1)
    y, x = np.nonzero(distance < 40)
    return x.mean(), y.mean(), len(x)


@pytest.mark.parametrize("seed", range(5))
def test_relations_are_drawn_as_they_are_told(seed):
    red, blue = (thing._replace(texture="") for thing in (RED, BLUE))
    image = pixels(Scene((red, blue), 1, "left of"), seed)
    assert centre(image, "red")[0] < centre(image, "blue")[0] - 20
    image = pixels(Scene((red, blue), 1, "above"), seed)
    assert centre(image, "red")[1] < centre(image, "blue")[1] - 20


def test_sizes_counts_and_textures_change_the_drawn_area():
    def area(**changes):
        count = changes.pop("count", 1)
        thing = Thing("small", "", "red", "square")._replace(**changes)
        return np.mean([centre(pixels(Scene((thing,), count), s), "red")[2] for s in range(3)])

    one = area()
    assert area(size="large") > 2.5 * one
    assert area(count=3) == pytest.approx(3 * one, rel=0.15)
    for texture in ("striped", "dotted"):
        assert area(texture=texture, size="large") < 0.85 * area(size="large")


def test_shapes_differ():
    images = [pixels(Scene((Thing("large", "", "black", shape),))) for shape in embedded.SHAPES]
    for i, image in enumerate(images):
        assert image.shape == (embedded.IMAGE_SIZE, embedded.IMAGE_SIZE, 3)
        for other in images[:i]:
            assert np.abs(image - other).mean() > 2


def test_a_split_draws_the_same_again():
    one, other = SceneSplit("test"), SceneSplit("test")
    assert one[3] == other[3] == one[2:5][1]
    assert one[3][0] != one[4][0]
    assert one[-1] == one[len(one) - 1]
    with pytest.raises(IndexError):
        one[len(one)]
    assert one.digest == other.digest != SceneSplit("valid").digest
