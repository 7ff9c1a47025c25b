"""Sends texts or files to an exported model: to a SavedModel folder or to TF Serving."""

import argparse
import contextlib
import glob
import gzip
import itertools
import json
import math
import os
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shared.errors import PredictError
from shared.files import partial_path
from shared.serving.clients import connect
from shared.serving.tensors import each, to_bytes, to_column

HELP = """\
inputs:
  "some text"  one input. "@@name" is the text "@name". Write -- before texts that begin with -
  @file.txt    each line is one input. Lines end at \\n or \\r\\n; a byte order mark at the start
               is removed; invalid UTF-8 is sent unchanged
  @photo.jpg   the whole file is one input: .aac .aif .aiff .au .avi .avif .bmp .flac .gif .heic
               .jpeg .jpg .m4a .mid .midi .mkv .mov .mp3 .mp4 .npy .npz .ogg .opus .pdf .png
               .tif .tiff .wav .webm .webp .wma; with another suffix than these, .txt, .tsv and
               .jsonl, such as .en or .raw, if its first 8,000 bytes contain a zero byte
  @folder      all files of the folder that are whole inputs, sorted by name, without hidden files
               and subfolders
  "@*.jpg"     all files that match, sorted by name; ** matches folders at any depth
  - or @-      each line of standard input
  Files that end in .gz are decompressed. Files are read batch by batch.
answers:
  text         `outputs`, one line per input; several values are separated by tabs. A newline is
               printed as the two characters \\n, unless there is one input only and it is a text
               or a whole file. Without `outputs`: all other outputs, separated by tabs.
               Messages in `error` are printed to stderr
  jsonl        one JSON object per input: the input (of a whole file, its path) and all outputs;
               null for NaN and infinity
  Outputs named *_bytes are written to OUT_DIR/<row>.mid, .wav, .png or .<name>.bin.
exit status: 0; 1 if `error` has a message for a row; 2 if an input was not answered.
"""
# fmt: off
MEDIA_SUFFIXES = {
    ".aac", ".aif", ".aiff", ".au", ".avi", ".avif", ".bmp", ".flac", ".gif", ".heic", ".jpeg", ".jpg",
    ".m4a", ".mid", ".midi", ".mkv", ".mov", ".mp3", ".mp4", ".npy", ".npz", ".ogg", ".opus", ".pdf",
    ".png", ".tif", ".tiff", ".wav", ".webm", ".webp", ".wma",
}
# fmt: on
TEXT_SUFFIXES = {"", ".txt", ".tsv", ".jsonl"}
BOM = b"\xef\xbb\xbf"  # the byte order mark of UTF-8
BINARY_SUFFIXES = {"midi_bytes": "mid", "wav_bytes": "wav", "png_bytes": "png"}


class Source(NamedTuple):
    """A text of the command line, or a file from which inputs are read.

    Attributes:
        kind: "text"; "lines", a file in which each line is an input; or "file", a file that is an input.
        value: the text, or the path of the file; "-" is standard input.
    """

    kind: str
    value: str


def _sources(args):
    """Converts the arguments to a list of `Source`s; folders and globs become their files."""
    sources = []
    for arg in args:
        if arg in ("-", "@-"):
            sources.append(Source("lines", "-"))
        elif not arg.startswith("@") or arg.startswith("@@"):
            sources.append(Source("text", arg.removeprefix("@")))
        else:
            paths = _paths(arg)
            sources += [Source("lines" if _is_text_file(p) else "file", p) for p in paths]
    return sources


def _paths(arg):
    """Returns the paths of the files that @file, @folder or @glob stands for."""
    name = arg.removeprefix("@")
    try:
        if os.path.isdir(name):
            files = sorted(file for file in os.listdir(name) if not file.startswith("."))
            paths = [os.path.join(name, file) for file in files]
            paths = [p for p in paths if os.path.isfile(p) and not _is_text_file(p)]
            missing = "the folder has no files other than text files, which are given one by one"
        elif glob.has_magic(name) and not os.path.lexists(name):
            paths = sorted(glob.glob(_escape_folders(name), recursive=True))
            missing = "no file matches"
        else:
            os.stat(name)
            return [name]
    except OSError as error:
        raise PredictError(f"{arg}: {error.strerror}") from error
    paths = [path for path in paths if os.path.isfile(path)]
    if not paths:
        raise PredictError(f"{arg}: {missing}")
    return paths


def _escape_folders(pattern):
    """Escapes the first folders of a pattern, if they exist under these names."""
    folder = os.path.dirname(pattern)
    while folder and not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return glob.escape(folder) + pattern[len(folder) :]


def _is_text_file(path):
    """Returns whether each line of a file is an input; otherwise, the whole file is one."""
    suffix = Path(path.lower().removesuffix(".gz")).suffix
    if suffix in TEXT_SUFFIXES or suffix in MEDIA_SUFFIXES or not os.path.isfile(path):
        return suffix not in MEDIA_SUFFIXES  # a pipe could not be read twice
    try:
        with _open(path) as file:
            return b"\0" not in file.read(8000)
    except (EOFError, OSError, zlib.error):  # reported when it is read
        return False


def _open(path):
    """Opens a file, or the content of a .gz file, for reading bytes."""
    return (gzip.open if path.lower().endswith(".gz") else open)(path, "rb")


def _lines(file):
    """Yields the lines of a binary file without their ends, as `shared.data.sources.read_lines` does."""
    for number, line in enumerate(file):
        if number == 0 and line.startswith(BOM):
            line = line.removeprefix(BOM)
            if not line:  # nothing follows
                return
        yield line.removesuffix(b"\n").removesuffix(b"\r")


def _read(sources):
    """Yields the inputs one by one, as (bytes, path); the path is None unless it is a whole file."""
    for kind, value in sources:
        if kind == "text":
            yield to_bytes(value), None
            continue
        try:
            with contextlib.ExitStack() as stack:
                file = sys.stdin.buffer
                if value != "-":
                    file = stack.enter_context(_open(value))
                if kind == "file":
                    yield file.read(), os.fsencode(value).decode("utf-8", "replace")
                    continue
                for line in _lines(file):
                    yield line, None
        except (EOFError, OSError, zlib.error) as error:
            raise PredictError(f"@{value}: {getattr(error, 'strerror', 0) or error}") from error


def _to_json(name, column, first_row, folder):
    """Converts an output to lists for JSON; outputs named *_bytes are written to files, by row number."""
    if name.endswith("_bytes"):
        paths = np.full(column.shape, "", object)
        suffix = BINARY_SUFFIXES.get(name, name.removesuffix("_bytes") + ".bin")
        for index, data in np.ndenumerate(column):
            if data:  # empty for rows with an error
                row = "-".join(str(i) for i in (first_row + index[0], *index[1:]))
                path = folder / f"{row}.{suffix}"
                try:
                    partial_path(path).write_bytes(data)
                    os.replace(partial_path(path), path)
                except OSError as error:
                    raise PredictError(f"{path}: {error.strerror}") from error
                paths[index] = str(path)
        return paths.tolist()
    if column.dtype == object:
        return each(lambda data: data.decode("utf-8", "replace"), column).tolist()
    if column.dtype.kind == "f":  # as text first: 0.1 instead of float(float32), 0.10000000149
        return column.astype("U").astype("f8").tolist()
    return column.tolist()


def _finite(value):
    """Replaces NaN and infinity, which JSON does not have, by None."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _to_text(row):
    """Returns the line of a row, {output: value}, and the messages about its other outputs."""
    shown = {"outputs"} & set(row) or set(row) - {"error"}
    values = [np.ravel(np.array(value, object)) for name, value in row.items() if name in shown]
    messages = [
        f"{name}: {value}"
        for name, value in row.items()
        if value and name not in shown and (name == "error" or name.endswith("_bytes"))
    ]
    return "\t".join(map(str, itertools.chain(*values))), messages


def _run(args, sources, bar):
    """Prints the answers; returns the exit status."""
    if args.batch_size < 1:
        raise PredictError(f"--batch-size must be at least 1. Received: {args.batch_size}")
    if invalid := [param for param in args.param if "=" not in param]:
        raise PredictError(f"--param must be NAME=VALUE. Received: {invalid[0]}")
    client = connect(args.target, args.timeout)
    texts = dict(param.split("=", 1) for param in args.param)
    types = client.check(args.signature, {"inputs", *texts})
    params = {name: to_column(name, text, types[name]) for name, text in texts.items()}
    args.out_dir.mkdir(parents=True, exist_ok=True)
    keep_newlines = len(sources) == 1 and sources[0].kind != "lines"
    inputs, done, status = _read(sources), 0, 0
    while batch := list(itertools.islice(inputs, args.batch_size)):
        try:
            answer = client.predict(args.signature, [data for data, _ in batch], **params)
        except PredictError as error:
            paths = [path for _, path in batch if path]
            files = f" ({paths[0]} to {paths[-1]})" if paths else ""
            raise PredictError(f"rows {done + 1}-{done + len(batch)}{files}: {error}") from error
        columns = {
            name: _to_json(name, answer[name], done + 1, args.out_dir) for name in sorted(answer)
        }
        lines = []
        for (data, path), *values in zip(batch, *columns.values(), strict=True):
            done += 1
            row = dict(zip(columns, values, strict=True))
            status |= bool(row.get("error"))
            if args.format == "jsonl":
                row = {"input": path or data.decode("utf-8", "replace"), **row}
                lines.append(json.dumps(_finite(row), ensure_ascii=False, allow_nan=False))
                continue
            line, messages = _to_text(row)
            for message in messages:
                bar.write(f"row {done}{f' ({path})' if path else ''}: {message}", sys.stderr)
            lines.append(line if keep_newlines else line.replace("\n", "\\n"))
        bar.write("\n".join(lines), sys.stdout)
        sys.stdout.flush()
        bar.update(len(batch))
    if not done:
        raise PredictError("no inputs: give a text, a @file that is not empty, a @folder or -")
    return status


def _discard_stdout():
    """Discards what is still buffered: Python would write it at its end, and fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status. Errors are printed to stderr in one line."""
    parser = argparse.ArgumentParser("python -m shared.predict", description=__doc__, epilog=HELP)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("target", help="saved_models/NAME, or http://HOST:8501/v1/models/NAME of TF Serving")
    add("inputs", nargs="*", metavar="input", help="a text, @file, @folder, @glob or -; see below")
    add("--signature", default="serving_default", help="default: %(default)s")
    help_ = "another input of the signature, the same for all rows; may be repeated"
    add("--param", action="append", default=[], metavar="NAME=VALUE", help=help_)
    add("--format", choices=["text", "jsonl"], default="text", help="default: %(default)s")
    add("--batch-size", type=int, default=32, help="inputs per request; default: %(default)s")
    add("--out-dir", type=Path, default=".", help="folder for *_bytes; default: current folder")
    add("--timeout", type=float, default=60.0, help="seconds per request; default: 60")
    add("--progress", action="store_true", help="show progress even if stderr is not a terminal")
    args = parser.parse_intermixed_args(argv)  # options may be between the inputs
    import tqdm  # imported here because the clients do not need it

    try:
        sources = _sources(args.inputs)
        kinds = [source.kind for source in sources]
        many = "lines" in kinds or kinds.count("file") > 1
        show = args.progress or (many and sys.stderr.isatty())
        total = None if "lines" in kinds else len(sources)
        with tqdm.tqdm(total=total, unit=" rows", disable=not show) as bar:
            return _run(args, sources, bar)
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        _discard_stdout()
        return 141
    except KeyboardInterrupt:
        return 130
    except PredictError as error:
        message = str(error)
    except OSError as error:
        message = f"{error.filename or 'stdout'}: {error.strerror}"
        if not error.filename:  # a full disk
            _discard_stdout()
    print(f"predict: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # hide TensorFlow's log messages
    sys.stdout.reconfigure(encoding="utf-8")
    sys.exit(main())
