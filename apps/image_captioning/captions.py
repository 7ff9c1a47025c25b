"""Reads images and their captions from files, in the project's format or as their publishers ship them."""

import collections
import hashlib
import json
import pathlib

import numpy as np

from shared.data import sources
from shared.data.features import FeatureCache
from shared.data.hashes import file_hashes
from shared.data.splits import MediaSplit, Split
from shared.errors import InputError
from shared.files import read_json

IMAGE_FOLDERS = ("", "images", "Flicker8k_Dataset", "Flickr8k_Dataset", "Images")
FLICKR_LISTS = {
    "train": "Flickr_8k.trainImages.txt",
    "valid": "Flickr_8k.devImages.txt",
    "test": "Flickr_8k.testImages.txt",
}
COCO_FILES = {"train": "captions_train*.json", "valid": "captions_val*.json"}


def read(config, name):
    """Opens a split of the folders of `--data-dir`.

    Each folder has one of

        captions.{train,valid,test}.tsv     file name of an image, tab, caption
        Flickr8k.token.txt                  and the lists Flickr_8k.{train,dev,test}Images.txt
        captions_{train,val}*.json          of COCO; the second half of its val is the test split

    and its images, in itself or in a subfolder that is known or that COCO's file name tells.

    Args:
        config: the app's Config.
        name: "train", "valid" or "test".

    Returns:
        a `MediaSplit`; the target of an image is its captions, separated by line ends.

    Raises:
        InputError: a folder has none of these files, or they are damaged; an image is missing.
    """
    paths, targets = [], []
    if not config.data_dir:
        raise InputError(
            f"--data-dir is missing: give the folder with {config.captions}.train.tsv and the images"
        )
    for folder in map(pathlib.Path, config.data_dir):
        for image, captions in _read_folder(config, folder, name).items():
            paths.append(image)
            targets.append("\n".join(captions))
    return MediaSplit(name, paths, targets)


def _read_folder(config, folder, name):
    """Returns the captions of each image of one folder, {path: list of captions}."""
    if not folder.is_dir():
        raise InputError(f"--data-dir {str(folder)!r} is not a folder")
    tables = [
        folder / f"{config.captions}.{s}.tsv" for s in (name, *sources.SYNONYMS.get(name, ()))
    ]
    table = next((path for path in tables if path.exists()), None)
    if table:
        rows, labels = sources.read_columns([table], (0, 1))
        return _grouped(folder, rows, labels)
    tokens = folder / "Flickr8k.token.txt"
    if config.captions != "captions" or any(folder.glob("captions.*.tsv")):
        # The published files have other captions than those that are asked for.
        raise InputError(f"{folder} has no {tables[0].name}")
    if tokens.exists():
        return _flickr8k(folder, tokens, name)
    coco = sorted(folder.glob(COCO_FILES.get(name, COCO_FILES["valid"])))
    if coco:
        return _coco(folder, coco[0], name)
    raise InputError(
        f"{folder} has neither {tables[0].name} nor {tokens.name} nor "
        f"{COCO_FILES.get(name, COCO_FILES['valid'])}"
    )


def _grouped(folder, rows, labels):
    """Groups rows (file name, caption) by image."""
    results = collections.defaultdict(list)
    missing = []
    for i, (file, caption) in enumerate(rows):
        caption = " ".join(caption.split())
        if not caption:
            raise InputError(f"{labels[i]}: the caption is empty; remove the line")
        path = _image_path(folder, file)
        if path is None:
            missing.append(f"{labels[i]}: {file}")
        else:
            results[path].append(caption)
    if missing:
        raise InputError(
            f"{len(missing):,} captions belong to images that are not in {folder}; the first is {missing[0]}"
        )
    return results


def _image_path(folder, file, folders=IMAGE_FOLDERS):
    """Returns the path of an image, or None."""
    return next((folder / f / file for f in folders if (folder / f / file).is_file()), None)


def _flickr8k(folder, tokens, name):
    """Reads the files of Flickr8k: lines "image.jpg#0", tab, caption; and lists of images."""
    rows, labels = sources.read_columns([tokens], (0, 1))
    list_path = folder / FLICKR_LISTS[name]
    images, _ = sources.read_lines([list_path])
    wanted = {image.strip() for image in images if image.strip()}
    kept = [i for i, (key, _) in enumerate(rows) if key.partition("#")[0] in wanted]
    rows = [(rows[i][0].partition("#")[0], rows[i][1]) for i in kept]
    absent = wanted - {file for file, _ in rows}
    if absent:
        raise InputError(
            f"{list_path} has {len(absent)} images without captions; the first is {min(absent)}"
        )
    return _grouped(folder, rows, [labels[i] for i in kept])


def _coco(folder, path, name):
    """Reads a file of COCO. It publishes no captions of its test images: val is divided in two."""
    content = read_json(path)
    try:
        files = {image["id"]: image["file_name"] for image in content["images"]}
        captions = [(files[a["image_id"]], a["caption"]) for a in content["annotations"]]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is not a file of COCO captions: {error!r}") from None
    if name != "train":
        order = sorted(files.values())
        half = len(order) // 2
        kept = set(order[:half] if name == "valid" else order[half:])
        captions = [row for row in captions if row[0] in kept]
    subset = "train" if name == "train" else "val"
    folders = (*IMAGE_FOLDERS, *(p.name for p in folder.glob(f"{subset}*") if p.is_dir()))
    results = collections.defaultdict(list)
    for file, caption in captions:
        if not isinstance(caption, str) or not caption.strip():
            raise InputError(f"{path}: a caption of {file} is empty; remove it")
        image = _image_path(folder, file, folders)
        if image is None:
            raise InputError(f"{path}: the image {file} is not in {folder}")
        results[image].append(" ".join(caption.split()))
    return results


class TfdsSplit(Split):
    """A split of a TensorFlow Dataset that has images and captions as `coco_captions` has them.

    All examples are written to the cache at first, because TFDS reads in one order only. An entry of the
    cache is the image file, the captions, and the number of bytes of the captions in four bytes.

    Args:
        dataset: name of a dataset with the features "image" and "captions", a sequence of {"text"}.
        name: "train", "valid" or "test".
        data_dir: at most one folder.

    Attributes:
        targets: the captions of each image, separated by line ends.

    Raises:
        InputError: as for `sources.tfds_examples`.
    """

    def __init__(self, dataset, name, data_dir):
        self.name, features = name, ["image", "captions"]
        builder = sources.tfds_builder(dataset, features, data_dir)
        files = sorted(path for path in pathlib.Path(builder.data_dir).glob("*") if path.is_file())
        content = [builder.info.full_name, sources.tfds_split(builder, name), file_hashes(files)]
        self.digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        self._cache = FeatureCache.from_arrays(
            ["images and captions", self.digest],
            lambda: map(
                self._entry,
                sources.tfds_examples(dataset, name, features, data_dir, not_decoded=["image"]),
            ),
            f"images of {name}",
        )
        self.targets = [entry[self._begin(entry) : -4].tobytes().decode() for entry in self._cache]

    def __len__(self):
        return len(self._cache)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return super().__getitem__(index)
        entry = self._cache[index]
        return entry[: self._begin(entry)].tobytes(), self.targets[index]

    @staticmethod
    def _entry(example):
        """Returns the entry of an example, uint8 (bytes,)."""
        texts = (text.decode(errors="replace") for text in example["captions"]["text"])
        target = "\n".join(" ".join(text.split()) for text in texts).encode()
        content = bytes(example["image"]) + target + len(target).to_bytes(4, "little")
        return np.frombuffer(content, np.uint8)

    @staticmethod
    def _begin(entry):
        """Returns where the captions of an entry begin; the image file before them is not read."""
        return len(entry) - 4 - int.from_bytes(entry[-4:].tobytes(), "little")
