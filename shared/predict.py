"""One client for every app: puts texts or files to a SavedModel folder or to TF Serving."""

import argparse
import contextlib
import gzip
import itertools
import json
import os
import sys
import zlib
from pathlib import Path

import numpy as np

from shared.serving.clients import PredictError, connect, each, to_bytes, to_column

HELP = """\
inputs:
  "some text"  one input; "@@name" is the text @name; -- goes before texts that begin with -
  @file.txt    every line is one input: .txt, .tsv, .jsonl or no suffix. Lines end at \\n
               alone, and bytes that are not UTF-8 go to the model as they are
  @photo.jpg   any other suffix: the whole file is one input. .gz is unpacked first
  - or @-      every line of standard input
answers:
  text         `outputs`, one line for each input, several answers to one parted by tabs. A
               newline in them prints as the two characters \\n, unless one text or one whole
               file is all there is. Without `outputs`: all other outputs, parted by tabs.
               What `error` says of a row goes to stderr
  jsonl        one JSON object for each input: the input and every output
  An output named *_bytes is written to OUT_DIR/<row>.mid, .wav, .png or .<name>.bin.
exit status: 0; 1 when `error` says something of a row; 2 when something has no answer.
"""
LINES = {"", ".txt", ".tsv", ".jsonl"}
BINARY = {"midi_bytes": "mid", "wav_bytes": "wav", "png_bytes": "png"}


def _source(arg):
    """Returns the name of the file (None: `arg` is a text) and whether its lines are inputs."""
    if arg != "-" and (not arg.startswith("@") or arg.startswith("@@")):
        return None, False
    name = arg.removeprefix("@")
    return name, name == "-" or Path(name.lower().removesuffix(".gz")).suffix in LINES


def _read(args):
    """Yields the inputs one by one, each with what to call it in an answer (None: itself)."""
    for arg in args:
        name, lines = _source(arg)
        if name is None:
            yield to_bytes(arg.removeprefix("@")), None
            continue
        try:
            with contextlib.ExitStack() as stack:
                file = sys.stdin.buffer
                if name != "-":
                    opener = gzip.open if name.lower().endswith(".gz") else open
                    file = stack.enter_context(opener(name, "rb"))
                for data in file if lines else [file.read()]:
                    yield (data.removesuffix(b"\n"), None) if lines else (data, arg)
        except (EOFError, OSError, zlib.error) as error:
            raise PredictError(f"{arg}: {getattr(error, 'strerror', 0) or error}") from error


def _plain(name, column, first, folder):
    """Returns the rows as JSON has them; of *_bytes, written to files, the paths."""
    if name.endswith("_bytes"):
        paths = np.full(column.shape, "", object)
        for index, data in np.ndenumerate(column):
            if data:  # a row in error has none
                row = "-".join(str(i) for i in (first + index[0], *index[1:]))
                path = folder / f"{row}.{BINARY.get(name, name.removesuffix('_bytes') + '.bin')}"
                temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
                temporary.write_bytes(data)
                os.replace(temporary, path)  # nobody sees half a file
                paths[index] = str(path)
        return paths.tolist()
    if column.dtype == object:
        return each(lambda data: data.decode("utf-8", "replace"), column).tolist()
    if column.dtype.kind == "f":  # through text: 0.1, where float(float32) is 0.10000000149
        return column.astype("U").astype("f8").tolist()
    return column.tolist()


def _run(args, bar, as_is):
    """Prints the answers; returns the exit status."""
    if args.batch_size < 1:
        raise PredictError(f"--batch-size is at least 1, and not {args.batch_size}")
    if wrong := [param for param in args.param if "=" not in param]:
        raise PredictError(f"--param takes NAME=VALUE, and not {wrong[0]}")
    for name in {_source(arg)[0] for arg in args.inputs} - {None, "-"}:
        os.stat(name)  # before a model is loaded
    client = connect(args.target, args.timeout)
    texts = dict(param.split("=", 1) for param in args.param)
    tensors = client.check(args.signature, {"inputs", *texts})
    params = {name: to_column(name, text, tensors[name]) for name, text in texts.items()}
    args.out_dir.mkdir(parents=True, exist_ok=True)
    rows, done, status = _read(args.inputs), 0, 0
    while batch := list(itertools.islice(rows, args.batch_size)):
        try:
            answer = client.predict(args.signature, [data for data, _ in batch], **params)
        except PredictError as error:
            raise PredictError(f"rows {done + 1}-{done + len(batch)}: {error}") from error
        columns = {key: _plain(key, answer[key], done + 1, args.out_dir) for key in sorted(answer)}
        lines = []
        for (data, name), *values in zip(batch, *columns.values(), strict=True):
            done += 1
            row = dict(zip(columns, values, strict=True))
            status |= bool(row.get("error"))
            if args.format == "jsonl":
                row = {"input": name or data.decode("utf-8", "replace"), **row}
                lines.append(json.dumps(row, ensure_ascii=False))
                continue
            shown = {"outputs"} & set(row) or set(row) - {"error"}
            for key in row:
                if row[key] and key not in shown and (key == "error" or key.endswith("_bytes")):
                    bar.write(f"row {done}: {key}: {row[key]}", sys.stderr)
            values = [np.ravel(np.array(v, object)) for k, v in row.items() if k in shown]
            line = "\t".join(map(str, itertools.chain(*values)))
            lines.append(line if as_is else line.replace("\n", "\\n"))
        bar.write("\n".join(lines), sys.stdout)
        sys.stdout.flush()
        bar.update(len(batch))
    if not done:
        raise PredictError("nothing to answer: give a text, a @file that is not empty, or -")
    return status


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status, with an error as one line on stderr."""
    parser = argparse.ArgumentParser("python -m shared.predict", description=__doc__, epilog=HELP)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("target", help="saved_models/NAME, or http://HOST:8501/v1/models/NAME of TF Serving")
    add("inputs", nargs="*", metavar="input", help="a text, @file or -: see below")
    add("--signature", default="serving_default", help="default: %(default)s")
    help_ = "a further input of the signature, for all rows; may be repeated"
    add("--param", action="append", default=[], metavar="NAME=VALUE", help=help_)
    add("--format", choices=["text", "jsonl"], default="text", help="default: %(default)s")
    add("--batch-size", type=int, default=32, help="inputs in a request; default: %(default)s")
    add("--out-dir", type=Path, default=".", help="folder for *_bytes; default: this one")
    add("--timeout", type=float, default=60.0, help="seconds a request may take; default: 60")
    add("--progress", action="store_true", help="a progress bar though stderr is no terminal")
    args = parser.parse_intermixed_args(argv)  # options may stand between the inputs
    lines = [_source(arg)[1] for arg in args.inputs]
    import tqdm  # not above: who imports a client has no need of it

    show = args.progress or (sys.stderr.isatty() and any(lines))
    try:
        with tqdm.tqdm(unit=" rows", disable=not show) as bar:
            return _run(args, bar, as_is=lines == [False])
    except BrokenPipeError:  # the reader has enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130
    except PredictError as error:
        message = str(error)
    except OSError as error:
        message = f"{error.filename}: {error.strerror}"
    print(f"predict: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # answers, not the log of the runtime
    sys.stdout.reconfigure(encoding="utf-8")
    sys.exit(main())
