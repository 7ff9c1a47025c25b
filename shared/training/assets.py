"""The folder of the assets of a run, which are fitted on the training split or taken from another run."""

import hashlib
import pathlib
import shutil

from shared.errors import InputError
from shared.files import read_json


def make(build, config, train, init_from, folder):
    """Writes the assets of a run to a folder.

    Args:
        build: `data.build_assets(config, train, folder)` of the app.
        config: Config of the app.
        train: the training split.
        init_from: folder of the run whose assets are copied instead; None builds new ones.
        folder: a folder that does not exist.

    Raises:
        InputError: the run of `init_from` has no assets; or `build` raises it.
    """
    if not init_from:
        folder.mkdir()
        build(config, train, folder)
        return
    source = pathlib.Path(init_from, "assets")
    if not source.is_dir():
        raise InputError(
            f"--init-from {init_from}: the run has no assets, because it was made by another version of "
            "this project. Train it again"
        )
    shutil.copytree(source, folder)


def hashes(folder):
    """Returns {relative path: SHA-256 (hex)} of the files in a folder, which assets.json records."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256")
            digests[path.relative_to(folder).as_posix()] = digest.hexdigest()
    return digests


def check(run):
    """Raises InputError if an asset of the run in the folder `run` is not as it was written."""
    if not ((run / "assets.json").exists() and (run / "assets").exists()):  # of an earlier version
        return
    now = hashes(run / "assets")
    for name, digest in read_json(run / "assets.json").items():
        if now.get(name) != digest:
            raise InputError(
                f"{run / 'assets' / name} is damaged, or was changed after the training began: train "
                "again, with another --run or after removing the folder of the run"
            )
