"""Drawn scenes with captions from a grammar, so that the app runs offline on any machine.

    scene       one object, two to four equal objects, or two objects in a relation
    object      size, texture, colour, shape:           "a small striped red circle"
    caption     "a small striped red circle", "there is a small striped red circle"
                "three large blue stars", "there are three large blue stars"
                "a small red ring is above a large dotted blue star",
                "a large dotted blue star is below a small red ring"

Every caption names every object and attribute, so a caption is right if it is one of those that `captions`
returns for the scene. A scene is in one split only; some pairs of colour and shape are only in
"unseen_pairs", which tests whether a model composes what it knows.
"""

import functools
import hashlib
import io
import itertools
from typing import NamedTuple

import numpy as np
import PIL
from PIL import Image, ImageChops, ImageDraw

from shared.data.splits import Split

SIZES = {"small": 0.11, "large": 0.2}  # radius, as a fraction of the width of the image
TEXTURES = ("", "striped", "dotted")
COLOURS = {
    "red": (214, 39, 40),
    "orange": (255, 140, 20),
    "yellow": (245, 220, 50),
    "green": (44, 160, 60),
    "blue": (40, 90, 200),
    "purple": (140, 70, 180),
    "brown": (120, 75, 45),
    "black": (25, 25, 25),
}
SHAPES = {
    "circle": "circles",
    "square": "squares",
    "triangle": "triangles",
    "star": "stars",
    "cross": "crosses",
    "ring": "rings",
}
NUMBERS = {2: "two", 3: "three", 4: "four"}
RELATIONS = {"left of": "right of", "above": "below"}  # and their opposites
UNSEEN_PAIRS = {
    ("red", "star"), ("orange", "cross"), ("green", "circle"),
    ("blue", "triangle"), ("purple", "square"), ("black", "ring"),
}  # fmt: skip
IMAGE_SIZE = 64
OVERSAMPLING = 4  # scenes are drawn larger and then reduced, which smooths their edges
COUNTS = {"train": 6000, "valid": 400, "test": 500, "unseen_pairs": 300}
DRAWING = 1  # version of the drawing; part of the digests


class Thing(NamedTuple):
    """An object of a scene."""

    size: str
    texture: str
    colour: str
    shape: str

    def phrase(self, article="a", plural=False):
        """Returns the noun phrase, such as "a small striped red circle"."""
        noun = SHAPES[self.shape] if plural else self.shape
        return " ".join(word for word in (article, *self[:3], noun) if word)


class Scene(NamedTuple):
    """What a caption tells about an image.

    `relation` is the key of RELATIONS that holds between the first and the second thing, "" if there is
    only one; `count` is the number of equal objects.
    """

    things: tuple[Thing, ...]
    count: int = 1
    relation: str = ""


def captions(scene):
    """Returns all captions of a scene, a list of strings."""
    first = scene.things[0]
    if scene.count > 1:
        phrase = first.phrase(NUMBERS[scene.count], plural=True)
        return [phrase, f"there are {phrase}"]
    if not scene.relation:
        return [first.phrase(), f"there is {first.phrase()}"]
    a, b = (thing.phrase() for thing in scene.things)
    return [f"{a} is {scene.relation} {b}", f"{b} is {RELATIONS[scene.relation]} {a}"]


class SceneSplit(Split):
    """A split of scenes, drawn when they are read: (PNG file, captions separated by line ends)."""

    def __init__(self, name):
        self.name = name
        self._scenes = _scenes()[name]
        self.targets = ["\n".join(captions(scene)) for scene in self._scenes]

    def __len__(self):
        return len(self._scenes)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return super().__getitem__(index)
        index = range(len(self))[index]
        rng = np.random.default_rng([list(COUNTS).index(self.name), index])
        return draw(self._scenes[index], rng), self.targets[index]

    @functools.cached_property
    def digest(self):
        """SHA-256 of the scenes and of all that the drawing depends on."""
        content = [DRAWING, PIL.__version__, self.name, self._scenes]
        return hashlib.sha256(repr(content).encode()).hexdigest()


@functools.cache
def _scenes():
    """Returns the scenes of each split, {name: list of `Scene`}; no scene is in two of them."""
    rng = np.random.default_rng(0)
    things = [Thing(*words) for words in itertools.product(SIZES, TEXTURES, COLOURS, SHAPES)]
    unseen = [thing for thing in things if thing[2:] in UNSEEN_PAIRS]
    seen = [thing for thing in things if thing[2:] not in UNSEEN_PAIRS]
    total = sum(COUNTS.values()) - COUNTS["unseen_pairs"]
    scenes = _distinct_scenes(rng, seen, seen, total)
    splits = {"unseen_pairs": _distinct_scenes(rng, unseen, seen, COUNTS["unseen_pairs"])}
    for name in ("train", "valid", "test"):
        splits[name], scenes = scenes[: COUNTS[name]], scenes[COUNTS[name] :]
    return splits


def _distinct_scenes(rng, things, others, count):
    """Returns distinct scenes, of each form about a third; `others` are the second things of relations."""
    scenes = {}
    while len(scenes) < count:
        thing, other = things[rng.integers(len(things))], others[rng.integers(len(others))]
        form = rng.integers(6)
        if form == 0:
            scene = Scene((thing,))
        elif form == 1:
            scene = Scene((thing,), int(rng.integers(2, 5)))
        elif thing == other:
            continue
        else:
            pair = (thing, other) if form % 2 else (other, thing)
            scene = Scene(pair, 1, list(RELATIONS)[rng.integers(2)])
        scenes[scene] = None
    return list(scenes)


def draw(scene, rng):
    """Draws a scene at random positions.

    Args:
        scene: a `Scene`.
        rng: `numpy.random.Generator`.

    Returns:
        A PNG file, bytes.
    """
    side = IMAGE_SIZE * OVERSAMPLING
    background = tuple(int(v) for v in rng.integers(215, 250) + rng.integers(-5, 6, 3))
    image = Image.new("RGB", (side, side), background)
    things = scene.things * scene.count
    for thing, (x, y) in zip(things, _places(scene, rng), strict=True):
        radius = SIZES[thing.size] * rng.uniform(0.93, 1.07)
        _draw_thing(image, thing, x * side, y * side, radius * side)
    file = io.BytesIO()
    image.reduce(OVERSAMPLING).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _places(scene, rng):
    """Returns the centre of each object, as fractions of the width and height of the image."""
    jitter = lambda: rng.uniform(-0.04, 0.04, 2)  # noqa: E731
    if scene.relation:
        distance, across = rng.uniform(0.2, 0.26), rng.uniform(-0.08, 0.08, 2)
        along = [0.5 - distance, 0.5 + distance]
        places = [(along[i], 0.5 + across[i]) for i in range(2)]
        return [p if scene.relation == "left of" else p[::-1] for p in places]
    if scene.count == 1:
        return [0.5 + rng.uniform(-0.25, 0.25, 2)]
    quarters = rng.permutation([(0.27, 0.27), (0.27, 0.73), (0.73, 0.27), (0.73, 0.73)])
    return [quarters[i] + jitter() for i in range(scene.count)]


def _draw_thing(image, thing, x, y, radius):
    """Draws one object. Its texture is inside of an outline, so that its shape stays visible."""
    side = image.width
    outer, inner, texture = (Image.new("L", (side, side), 0) for _ in range(3))
    _draw_shape(ImageDraw.Draw(outer), thing.shape, x, y, radius)
    image.paste(COLOURS[thing.colour], (0, 0), outer)
    _draw_shape(ImageDraw.Draw(inner), thing.shape, x, y, 0.85 * radius)
    pen, step = ImageDraw.Draw(texture), side / 16
    if thing.texture == "striped":
        for i in range(17):
            pen.rectangle((0, i * step, side, (i + 0.38) * step), fill=255)
    if thing.texture == "dotted":
        for i, j in itertools.product(range(17), range(17)):
            a, b = (i + j % 2 / 2) * step, j * step
            pen.ellipse((a, b, a + 0.5 * step, b + 0.5 * step), fill=255)
    image.paste("white", (0, 0), ImageChops.multiply(inner, texture))


def _draw_shape(pen, shape, x, y, r):
    """Fills a shape of radius r around (x, y)."""
    box = (x - r, y - r, x + r, y + r)
    if shape in ("circle", "ring"):
        pen.ellipse(box, fill=255)
        if shape == "ring":
            pen.ellipse((x - r / 2, y - r / 2, x + r / 2, y + r / 2), fill=0)
    elif shape == "square":
        pen.rectangle((x - 0.86 * r, y - 0.86 * r, x + 0.86 * r, y + 0.86 * r), fill=255)
    elif shape == "cross":
        pen.rectangle((x - r, y - 0.35 * r, x + r, y + 0.35 * r), fill=255)
        pen.rectangle((x - 0.35 * r, y - r, x + 0.35 * r, y + r), fill=255)
    else:
        radii = (r, 0.45 * r) if shape == "star" else (r,)
        count = 5 * len(radii) if shape == "star" else 3
        angles = 2 * np.pi * np.arange(count) / count - np.pi / 2
        points = [
            (x + radii[i % len(radii)] * np.cos(a), y + radii[i % len(radii)] * np.sin(a))
            for i, a in enumerate(angles)
        ]
        pen.polygon(points, fill=255)
