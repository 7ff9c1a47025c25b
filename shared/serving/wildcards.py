"""Paths of SavedModels that contain wildcards: TensorFlow reads the path of the variables as a pattern."""

import contextlib
import os
import re
import tempfile


@contextlib.contextmanager
def loadable(folder):
    r"""Yields a path from which TensorFlow can load the SavedModel in a folder.

    It is the folder itself, unless its path contains one of `* ? [ ] \`: TensorFlow would find no files,
    or those of other folders. Then it is a temporary symbolic link, which is removed at the end.

    Args:
        folder: path of the folder.

    Example:

    >>> with loadable("models/toy") as path:
    ...     print(path)
    models/toy
    """
    if os.sep == "\\" or not re.search(r"[*?\[\]\\]", str(folder)):
        yield str(folder)
        return
    with tempfile.TemporaryDirectory() as scratch:
        link = os.path.join(scratch, "model")
        os.symlink(os.path.abspath(folder), link, target_is_directory=True)
        yield link
