"""Where raw text comes from: files, and TensorFlow Datasets."""

import gzip
import hashlib
import pathlib
import re
import zlib

from shared.errors import InputError

SPLITS = ("train", "valid", "test")
ALSO = {"valid": ("val", "validation", "dev")}  # other names of a split


def find(data_dir, split, suffix=".txt", optional=False):
    """The file of a split in a folder: `train.txt`, `<name>.train.txt`, plain or .gz.

    None, where there is no such file and it is `optional`.

    "val", "validation" and "dev" are "valid" too; and where there is no such file, one that says more
    after its split is taken, such as `test_2016.txt`.

    Raises:
        InputError: the folder or the file is missing, or several files could be meant.
    """
    folder = pathlib.Path(data_dir)
    if not data_dir or not folder.is_dir():
        wanted = f"a folder with train{suffix}, valid{suffix} and test{suffix} (plain or .gz)"
        raise InputError(f"--data-dir {str(data_dir)!r} is no folder: it names {wanted}")
    names = "|".join(map(re.escape, (split, *ALSO.get(split, ()))))
    for more in ("", "[_.-].+"):
        form = re.compile(rf"(.+\.)?({names}){more}{re.escape(suffix)}(\.gz)?")
        found = sorted(p for p in folder.iterdir() if form.fullmatch(p.name))
        if found:
            break
    else:
        if optional:
            return None
        tail = f"{split}{suffix}"
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


def columns(path, places):
    """Columns of a table without a header, whose fields tabs separate.

    Args:
        path: a file as `lines` reads it.
        places: which columns, counted from 0.

    Returns:
        a list of tuples of strings, a tuple for each line.

    Raises:
        InputError: as `lines`; or a line (it is named) has too few columns.
    """
    rows = []
    for number, line in enumerate(lines(path), 1):
        fields = line.split("\t")
        if len(fields) <= max(places):
            raise InputError(
                f"{path}, line {number}: {len(fields)} columns, separated by tabs; "
                f"{max(places) + 1} are needed"
            )
        rows.append(tuple(fields[place] for place in places))
    return rows


def parallel(first, second):
    """The lines of two files, of which line n of one belongs to line n of the other, as tuples.

    Raises:
        InputError: as `lines`; or one file has more lines.
    """
    one, two = lines(first), lines(second)
    if len(one) != len(two):
        raise InputError(
            f"{first} has {len(one)} lines and {second} {len(two)}: line by line they belong together"
        )
    return list(zip(one, two, strict=True))


def tfds_pairs(name, split, languages, data_dir=""):
    """The pairs of sentences of a split of a TensorFlow Dataset, as tuples of strings.

    Args:
        name: such as "ted_hrlr_translate/pt_to_en" or "wmt19_translate/zh-en"; it has a feature for each
            of `languages`.
        split, data_dir: as of `tfds_lines`.
        languages: the names of the two features, such as ("pt", "en").

    Raises:
        InputError: as `tfds_lines`.
    """
    examples = _tfds(name, split, languages, data_dir)
    return [tuple(_line(example[language]) for language in languages) for example in examples]


def _line(text):
    return " ".join(text.decode("utf-8", errors="replace").split("\n")).strip()


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
    result = []
    for example in _tfds(name, split, ["text"], data_dir):
        text = example["text"].decode("utf-8", errors="replace").replace("_NEWLINE_", "\n")
        text = text.replace("\r\n", "\n").strip("\n")
        result += [t for t in text.split("\n") if not t.startswith("_START_")]
    if not result:
        raise InputError(f"tfds:{name} has no text for {split}")
    return result


def _tfds(name, split, features, data_dir):
    """The examples of a split, dicts of bytes; for `tfds_lines` and `tfds_pairs`."""
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
    has = builder.info.features
    missing = [feature for feature in features if feature not in has]
    if missing:
        raise InputError(
            f"tfds:{name} has no feature {' or '.join(map(repr, missing))}, only {', '.join(has)}"
        )
    try:
        dataset = builder.as_dataset(split=_slice(builder.info.splits, split))
    except ValueError:  # the set has no `train`, or is so small that nothing is left for a split
        raise InputError(f"tfds:{name} has no text for {split}") from None
    return tfds.as_numpy(dataset)


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
