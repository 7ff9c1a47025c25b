"""Joins public Chinese text into the `train.txt` that the presets `sentences*` read beside `train.tsv`.

python -m apps.pinyin_conversion.join_text --cpp DIR --three-am DIR --hotel DIR --output DIR/train.txt

The text comes from three GitHub repositories, in this order:

1. CPP (Park and Lee, Interspeech 2020): `kakaobrain/g2pM`, commit 170526e, folder `data`, files `dev.sent`
   and then `test.sent`. Apache-2.0. The marks "▁" around a character are removed; `train.sent` is not used.
2. 3AM (Ma et al., LREC-COLING 2024): `MaxyLee/3AM`, commit ce80997, folder `data`, file `train.zh`. MIT.
3. Hotel reviews of ChnSentiCorp (Tan Songbo): `SophonPlus/ChineseNlpCorpus`, commit a0b781d, folder
   `datasets/ChnSentiCorp_htl_all`, file `ChnSentiCorp_htl_all.csv`, column `review`. The repository states no
   licence.

A folder may have a table instead, tab-separated and without a header, whose second column is the text:
`dev.tsv` and `test.tsv` of CPP, `train.tsv` of 3AM and of the reviews. All files may end in `.gz`.
Every text becomes one line, white space in it becomes one space, and empty texts are left out.

The recorded results used such tables, which have fewer rows than the public files: 9,654 of the 10,254
lines of `test.sent`; 23,740 of the 23,931 lines of `train.zh`, without those whose English, Chinese or image
is also in `val` or `test`; and 5,964 of the 7,766 reviews, a random part. The whole public files therefore
give a longer text, and the training split has another SHA-256 than in `results/sentences.json`.
"""

import csv
import pathlib
import sys

import tyro

from shared.data import sources
from shared.errors import InputError, reported
from shared.files import write_text


def read_cpp(folder):
    """Returns the sentences of `dev` and `test` of CPP, without the marks around a character."""
    texts = []
    for split in ("dev", "test"):
        path = _find(folder, "--cpp", f"{split}.sent", f"{split}.tsv")
        texts += [text.replace("▁", "") for text in _read(path)]
    return texts


def read_three_am(folder):
    """Returns the Chinese sentences of the training split of 3AM."""
    return _read(_find(folder, "--three-am", "train.zh", "train.tsv"))


def read_hotel(folder):
    """Returns the hotel reviews of ChnSentiCorp."""
    return _read(_find(folder, "--hotel", "ChnSentiCorp_htl_all.csv", "train.tsv"))


def _find(folder, flag, *names):
    """Returns the path of the only file of `folder` that has one of `names`, plain or .gz."""
    if not folder.is_dir():
        raise InputError(f"{flag} must be a folder. Received: {str(folder)!r}")
    paths = [path for name in names for path in (folder / name, folder / f"{name}.gz")]
    paths = [path for path in paths if path.is_file()]
    if len(paths) != 1:
        received = ", ".join(path.name for path in paths) or "none of them"
        expected = " or ".join(names)
        raise InputError(f"{flag} {folder} must have one of {expected}. Received: {received}")
    return paths[0]


def _read(path):
    """Returns the texts of a file: all lines, the second column of a .tsv, the reviews of a .csv."""
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if suffix == ".tsv":
        return [text for (text,) in sources.read_columns([path], (1,))[0]]
    lines, _ = sources.read_lines([path])
    return _reviews(path, lines) if suffix == ".csv" else lines


def _reviews(path, lines):
    reader = csv.DictReader((f"{line}\n" for line in lines), strict=True)
    try:
        reviews = [row["review"] for row in reader]
    except KeyError:
        header = ",".join(reader.fieldnames)
        raise InputError(f"{path}: a column 'review' is needed. Received: {header}") from None
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.reader.line_num}: not valid CSV ({error})"
        ) from None
    if None in reviews:
        raise InputError(f"{path}, row {reviews.index(None) + 1}: no review")
    return reviews


@reported
def main(argv=None):
    """Writes the joined text."""

    def command(
        output: pathlib.Path,
        cpp: pathlib.Path | None = None,
        three_am: pathlib.Path | None = None,
        hotel: pathlib.Path | None = None,
    ):
        """Join text of CPP, 3AM and ChnSentiCorp into one file, one text per line.

        The presets sentences, sentences_tones and sentences_typing need all three.

        Args:
            output: the file to write, such as train.txt beside train.tsv
            cpp: folder with dev.sent and test.sent of CPP
            three_am: folder with train.zh of 3AM
            hotel: folder with ChnSentiCorp_htl_all.csv
        """
        folders = ((read_cpp, cpp), (read_three_am, three_am), (read_hotel, hotel))
        texts = [text for read, folder in folders if folder for text in read(folder)]
        if not texts:
            raise InputError("no text to join: give --cpp, --three-am or --hotel")
        lines = [line for line in (" ".join(text.split()) for text in texts) if line]
        empty = len(texts) - len(lines)
        if empty > len(lines):
            raise InputError(f"{empty:,} of {len(texts):,} texts are empty")
        try:
            write_text(output, "".join(f"{line}\n" for line in lines))
        except OSError as error:
            raise InputError(f"cannot write --output {output}: {error.strerror}") from None
        print(f"{output}: {len(lines):,} lines, {sum(map(len, lines)):,} characters")
        if empty:
            print(f"{empty:,} of {len(texts):,} texts are empty and left out", file=sys.stderr)

    tyro.cli(command, prog=f"python -m {__package__}.join_text", args=argv)


if __name__ == "__main__":
    main()
