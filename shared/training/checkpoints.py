"""The checkpoints of a run: each is written whole, and the newest one that is not damaged is restored."""

import os
import pathlib
import re
import sys

import tensorflow as tf

from shared.errors import InputError
from shared.files import remove, replace
from shared.serving.wildcards import loadable


class Checkpoints:
    """The last checkpoints in a folder, `ckpt-<number>.index` and its `ckpt-<number>.data-*`.

    There is no list of them that an interruption could damage: a checkpoint exists if it has an index,
    which is renamed last and deleted first. `tf.train.CheckpointManager` has such a list, does not wait
    for the disk, and reads the name of the folder as a pattern.

    Args:
        folder: the folder; it need not exist.
        keep: number of checkpoints that are kept.
        **objects: what a checkpoint holds, as for `tf.train.Checkpoint`.
    """

    def __init__(self, folder, keep=2, **objects):
        self.folder, self.keep = pathlib.Path(folder), keep
        self._checkpoint = tf.train.Checkpoint(**objects)
        _ = self._checkpoint.save_counter  # creates it: `tf.train.CheckpointManager` saved one

    def save(self):
        """Writes a checkpoint, whole or not at all, and deletes the oldest.

        Raises:
            tf.errors.OpError or OSError: it cannot be written, for example because the disk is full.
        """
        name = f"ckpt-{max(numbers(self.folder), default=0) + 1}"
        partial = self.folder / ".partial"
        try:
            partial.mkdir(parents=True, exist_ok=True)
            self._checkpoint.write(str(partial / name))
            for path in sorted(partial.iterdir()):  # the index is the last
                replace(path, self.folder / path.name)
        finally:
            remove(partial)
        for number in numbers(self.folder)[: -self.keep]:
            self._delete(number)

    def restore(self):
        """Restores the newest checkpoint that is not damaged, and deletes those after it.

        Returns:
            whether there is a checkpoint.

        Raises:
            InputError: there are checkpoints, and none can be restored.
        """
        self._clean()
        damaged = {}
        for number in reversed(numbers(self.folder)):
            try:
                with loadable(self.folder) as folder:
                    path = os.path.join(folder, f"ckpt-{number}")
                    self._checkpoint.read(path).assert_consumed()
            except (
                MemoryError,
                OSError,
                tf.errors.PermissionDeniedError,
                tf.errors.ResourceExhaustedError,
            ):
                raise  # the checkpoint may be whole
            except Exception as error:  # a damaged file raises many types of exception
                damaged[number] = (str(error).strip() or type(error).__name__).splitlines()[0]
                continue
            for newer, reason in damaged.items():
                print(
                    f"{self.folder}/ckpt-{newer} is damaged ({reason}): using ckpt-{number}",
                    file=sys.stderr,
                )
                self._delete(newer)
            return True
        if damaged:
            reasons = "; ".join(f"ckpt-{number}: {reason}" for number, reason in damaged.items())
            raise InputError(
                f"no checkpoint in {self.folder} can be restored ({reasons}): choose another --run, or "
                "remove the folder of the run to start again"
            )
        return False

    def _delete(self, number):
        (self.folder / f"ckpt-{number}.index").unlink()
        for path in self.folder.iterdir():
            if path.name.startswith(f"ckpt-{number}.data-"):
                path.unlink()

    def _clean(self):
        """Removes what belongs to no checkpoint: an interruption in the middle of a save leaves it."""
        complete = {f"ckpt-{number}" for number in numbers(self.folder)}
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.name.partition(".")[0] not in complete:
                remove(path)


def numbers(folder):
    """Returns the numbers of the checkpoints in a folder, ascending; [] if there is no folder."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    found = (re.fullmatch(r"ckpt-(\d+)\.index", name) for name in names)
    return sorted(int(match[1]) for match in found if match)
