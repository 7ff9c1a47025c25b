"""Where raw text comes from: files, and TensorFlow Datasets."""

import gzip
import hashlib
import pathlib
import zlib

from shared.errors import InputError

SPLITS = ("train", "valid", "test")


def find(data_dir, split, suffix=".txt"):
    """The file of a split in a folder: `train.txt`, `<name>.train.txt`, plain or .gz.

    Raises:
        InputError: the folder or the file is missing, or several files could be meant.
    """
    folder = pathlib.Path(data_dir)
    if not data_dir or not folder.is_dir():
        wanted = f"a folder with train{suffix}, valid{suffix} and test{suffix} (plain or .gz)"
        raise InputError(f"--data-dir {str(data_dir)!r} is no folder: it names {wanted}")
    tail = f"{split}{suffix}"
    endings = (tail, f".{tail}", f"{tail}.gz", f".{tail}.gz")
    found = sorted(
        p
        for p in folder.iterdir()
        if p.name in endings or p.name.endswith((endings[1], endings[3]))
    )
    if not found:
        raise InputError(f"{folder} holds no {tail}, {tail}.gz or <name>.{tail}")
    if len(found) > 1:
        names = ", ".join(p.name for p in found)
        raise InputError(f"{folder} holds several files for {split}: {names}; keep one")
    return found[0]


def lines(path):
    """The lines of a UTF-8 text file, plain or .gz, without their ends.

    Lines end at "\\n" alone: `str.splitlines` would also cut at U+2028 and others.

    Raises:
        InputError: the file is empty, not UTF-8 (names the line), or a damaged .gz.
    """
    path = pathlib.Path(path)
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: {error}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1  # of what comes after the mark
        raise InputError(f"{path}, line {line}: not UTF-8 ({error.reason})") from None
    if not text.strip():
        raise InputError(f"{path} is empty")
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def tfds_lines(name, split, data_dir=""):
    """The text of a split of a TensorFlow Dataset, as lines.

    Where the set has no validation or test split, the last twentieth of `train` (and the one before
    it) stands in for it. Of wiki40b the section marks are dropped and the paragraphs kept.

    Args:
        name: such as "tiny_shakespeare" or "wiki40b/en"; it has a feature "text".
        split: "train", "valid" or "test".
        data_dir: where TFDS keeps its data; its own default where empty.

    Raises:
        InputError: there is no such set, it has no text, or none for this split, or it is not on disk
            and cannot be fetched.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    downloader.MAX_RETRIES = 0  # without a network, TFDS would try for 200 s
    try:
        builder = tfds.builder(name, data_dir=data_dir or None)
        builder.download_and_prepare()
    except Exception as error:  # TFDS raises a dozen kinds
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"tfds:{name} is not to be had ({first}): check the name and the network, or prepare it "
            f"on another machine with `tfds build {name}` and name its folder with --data-dir"
        ) from None
    if "text" not in builder.info.features:
        raise InputError(
            f"tfds:{name} has no feature 'text', only {', '.join(builder.info.features)}"
        )
    try:
        dataset = builder.as_dataset(split=_slice(builder.info.splits, split))
    except ValueError:  # the set has no `train`, or is so small that nothing is left for a split
        raise InputError(f"tfds:{name} has no text for {split}") from None
    result = []
    for example in tfds.as_numpy(dataset):
        text = example["text"].decode("utf-8", errors="replace").replace("_NEWLINE_", "\n")
        text = text.replace("\r\n", "\n").strip("\n")
        result += [t for t in text.split("\n") if not t.startswith("_START_")]
    if not result:
        raise InputError(f"tfds:{name} has no text for {split}")
    return result


def _slice(splits, split):
    """TFDS's name of one of our splits, cut out of `train` where the set lacks it."""
    theirs = {"train": "train", "valid": "validation", "test": "test"}
    missing = [s for s in ("valid", "test") if theirs[s] not in splits]
    cuts = {s: f"train[{95 - 5 * i}%:{100 - 5 * i}%]" for i, s in enumerate(missing)}
    if split == "train" and missing:
        return f"train[:{100 - 5 * len(missing)}%]"
    return cuts.get(split, theirs[split])


def sha256(text_lines):
    """SHA-256 of lines as a file that ends each with "\\n" would have it."""
    digest = hashlib.sha256()
    for line in text_lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()
