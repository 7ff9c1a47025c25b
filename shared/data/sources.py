"""Reads raw text from files and from TensorFlow Datasets."""

import gzip
import itertools
import pathlib
import re
import zlib

from shared.data.splits import LineLabels, Split, TextSplit
from shared.errors import InputError

SPLITS = ("train", "valid", "test")
SYNONYMS = {"valid": ("validation", "val", "dev")}  # other file names of a split


def open_splits(config, names, *, embedded, files, tfds):
    """Opens splits from the source that `config.source` names.

    Args:
        config: a Config with `source` and `data_dir`.
        names: names of the splits.
        embedded: function of the split's name, for the source "embedded".
        files: function of the split's name, for the source "files".
        tfds: function of the dataset's name and of the split's name, for "tfds:<name>".

    Each function returns a `Split`, or a list of examples.

    Returns:
        {name: `Split`}.

    Raises:
        InputError: there is no such source.
    """
    if config.source == "embedded":
        read = embedded
    elif config.source == "files":
        read = files
    elif config.source.startswith("tfds:"):
        read = lambda name: tfds(config.source.removeprefix("tfds:"), name)  # noqa: E731
    else:
        raise InputError(
            f"--source must be embedded, files or tfds:<name>. Received: {config.source!r}"
        )
    results = {name: read(name) for name in names}
    return {
        name: result if isinstance(result, Split) else TextSplit(name, result)
        for name, result in results.items()
    }


def find(folders, split, suffix=".txt", optional=False):
    """Finds the files of a split: `train.txt` or `<name>.train.txt`, plain or .gz.

    "val", "validation" and "dev" are accepted for "valid". If a folder has no such file, a file with
    a longer name is accepted, such as `test_2016.txt`. Hidden files are ignored.

    Args:
        folders: the folders of `--data-dir`.
        split: "train", "valid", "test" or the name of an extra test set.
        suffix: file name suffix.
        optional: whether the split may be missing in all folders.

    Returns:
        a list of paths, at most one for each folder, in the order of the folders.

    Raises:
        InputError: a folder is missing, no folder has the split, or a folder has several files for it.
    """
    if not folders:
        wanted = f"train{suffix}, valid{suffix} and test{suffix} (plain or .gz)"
        raise InputError(f"--data-dir is missing: give the folder with {wanted}")
    paths = [path for folder in folders for path in _find_in(folder, split, suffix)]
    if not paths and not optional:
        name = f"{split}{suffix}"
        where = ", ".join(map(str, folders))
        raise InputError(f"{where} has no {name}, {name}.gz or <name>.{name}")
    return paths


def _find_in(folder, split, suffix):
    # Path("") would be the current folder, which an empty shell variable does not mean.
    if not (str(folder) and pathlib.Path(folder).is_dir()):
        raise InputError(f"--data-dir {str(folder)!r} is not a folder")
    folder = pathlib.Path(folder)
    names = "|".join(map(re.escape, (split, *SYNONYMS.get(split, ()))))
    for addition in ("", "[_.-].+"):
        pattern = re.compile(rf"([^.].*\.)?({names}){addition}{re.escape(suffix)}(\.gz)?")
        paths = sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            raise InputError(f"{folder} has several files for {split}: {names}; keep one")
        if paths:
            return paths
    return []


def read_lines(paths):
    """Reads the lines of UTF-8 text files, plain or .gz, without their line ends.

    Lines end at "\\n" only: `str.splitlines` would also split at U+2028 and other characters.

    Returns:
        the lines of all files, a list of strings, and their `LineLabels`.

    Raises:
        InputError: a file is empty, is not UTF-8 (the line is named), or is a damaged .gz.
    """
    files = [_lines(path) for path in paths]
    return [*itertools.chain(*files)], LineLabels(paths, map(len, files))


def _lines(path):
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
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}: not UTF-8 ({error.reason})") from None
    if not text.strip():
        raise InputError(f"{path} is empty")
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def read_columns(paths, columns):
    """Reads columns of tab-separated tables without a header.

    Args:
        paths: files as for `read_lines`.
        columns: numbers of the columns, from 0.

    Returns:
        the rows, a list of tuples of strings, and their `LineLabels`.

    Raises:
        InputError: as for `read_lines`; or a line has too few columns (the line is named).
    """
    lines, labels = read_lines(paths)
    rows = []
    for number, line in enumerate(lines):
        fields = line.split("\t")
        if len(fields) <= max(columns):
            raise InputError(
                f"{labels[number]}: {max(columns) + 1} columns separated by tabs are needed. "
                f"Received: {len(fields)}"
            )
        rows.append(tuple(fields[column] for column in columns))
    return rows, labels


def read_parallel(first, second):
    """Reads pairs from two lists of files, in which line n of one belongs to line n of the other.

    Returns:
        the pairs, a list of tuples of strings, and the `LineLabels` of the first files.

    Raises:
        InputError: as for `read_lines`; or two files differ in their number of lines.
    """
    pairs, counts = [], []
    for one, two in zip(first, second, strict=True):
        sources, targets = _lines(one), _lines(two)
        if len(sources) != len(targets):
            raise InputError(
                f"{one} has {len(sources)} lines and {two} has {len(targets)}: line n of one must be "
                "the translation of line n of the other"
            )
        pairs += zip(sources, targets, strict=True)
        counts.append(len(sources))
    return pairs, LineLabels(first, counts)


def tfds_lines(name, split, data_dir=()):
    """Reads the lines of text of a split of a TensorFlow Dataset.

    If the dataset has no validation or test split, the last twentieth of `train` and the one before it
    are used instead. The section marks of wiki40b are removed and its paragraphs are kept.

    Args:
        name: name of a dataset with a feature "text", such as "tiny_shakespeare" or "wiki40b/en".
        split: "train", "valid" or "test".
        data_dir: at most one folder, where TFDS keeps its data; empty for its default.

    Raises:
        InputError: there is no such dataset, it has no text or none for this split, or it is neither on
            disk nor available for download.
    """
    lines = []
    for example in tfds_examples(name, split, ["text"], data_dir):
        text = example["text"].decode("utf-8", errors="replace").replace("_NEWLINE_", "\n")
        text = text.replace("\r\n", "\n").strip("\n")
        lines += [line for line in text.split("\n") if not line.startswith("_START_")]
    if not lines:
        raise InputError(f"tfds:{name} has no text for {split}")
    return lines


def tfds_pairs(name, split, languages, data_dir=()):
    """Reads the sentence pairs of a split of a TensorFlow Dataset.

    Args:
        name: name of a dataset with a feature for each language, such as
            "ted_hrlr_translate/pt_to_en" or "wmt19_translate/zh-en".
        split, data_dir: as for `tfds_lines`.
        languages: names of the two features, such as ("pt", "en").

    Returns:
        a list of tuples of strings.

    Raises:
        InputError: as for `tfds_lines`.
    """
    examples = tfds_examples(name, split, languages, data_dir)
    return [tuple(_one_line(example[language]) for language in languages) for example in examples]


def _one_line(text):
    return " ".join(text.decode("utf-8", errors="replace").split("\n")).strip()


def tfds_examples(name, split, features, data_dir=(), not_decoded=()):
    """Reads the examples of a split of a TensorFlow Dataset.

    Args:
        name, split, data_dir: as for `tfds_lines`.
        features: names of the features that the dataset must have.
        not_decoded: names of features that are returned as they are stored, such as JPEG files.

    Returns:
        an iterable of dicts of NumPy values and bytes.

    Raises:
        InputError: as for `tfds_lines`.
    """
    import tensorflow_datasets as tfds

    builder = tfds_builder(name, features, data_dir)
    try:
        decoders = {feature: tfds.decode.SkipDecoding() for feature in not_decoded}
        dataset = builder.as_dataset(split=tfds_split(builder, split), decoders=decoders or None)
    except ValueError:  # there is no `train`, or it is too small to be divided
        raise InputError(f"tfds:{name} has no text for {split}") from None
    return tfds.as_numpy(dataset)


def tfds_builder(name, features, data_dir=()):
    """Prepares a TensorFlow Dataset.

    Args:
        name, features, data_dir: as for `tfds_examples`.

    Returns:
        a `tfds.core.DatasetBuilder`.

    Raises:
        InputError: as for `tfds_lines`.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    if len(data_dir) > 1:
        raise InputError("--data-dir takes one folder when --source is tfds:<name>")
    downloader.MAX_RETRIES = 0  # without a network, TFDS would retry for 200 s
    try:
        builder = tfds.builder(name, data_dir=data_dir[0] if data_dir else None)
        builder.download_and_prepare()
    except Exception as error:  # TFDS raises many types
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"tfds:{name} is not available ({first}): check the name and the network, or prepare it "
            f"on another machine with `tfds build {name}` and name its folder with --data-dir"
        ) from None
    available = builder.info.features
    missing = [feature for feature in features if feature not in available]
    if missing:
        raise InputError(
            f"tfds:{name} has no feature {' or '.join(map(repr, missing))}. "
            f"Its features: {', '.join(available)}"
        )
    return builder


def tfds_split(builder, split):
    """Returns the name in TFDS of a split; a part of `train` where the dataset lacks the split."""
    available = builder.info.splits
    valid = next((name for name in SYNONYMS["valid"] if name in available), "validation")
    tfds_names = {"train": "train", "valid": valid, "test": "test"}
    missing = [name for name in ("valid", "test") if tfds_names[name] not in available]
    parts = {name: f"train[{95 - 5 * i}%:{100 - 5 * i}%]" for i, name in enumerate(missing)}
    if split == "train" and missing:
        return f"train[:{100 - 5 * len(missing)}%]"
    return parts.get(split, tfds_names[split])
