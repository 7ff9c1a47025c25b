"""Errors of the user's input or of the machine, reported in one line without a traceback."""

import errno
import functools
import os
import re
import sys

# What a disk or its permissions can refuse at any time, in a message of TensorFlow too.
DISK = [
    os.strerror(code)
    for code in (
        errno.EACCES,
        errno.EDQUOT,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOSPC,
        errno.EPERM,
        errno.EROFS,
    )
]


class InputError(Exception):
    """Invalid input: a file, an argument or a run. The message names it and says what to do.

    It is not a ValueError, because `tyro` catches those and prints them in its own format.
    """


class PredictError(InputError):
    """A request that a model or a server cannot answer."""


def reported(main):
    """Decorates a script's `main(argv=None)` so that input errors are reported in one line.

    An `InputError` is printed to stderr and the process exits with status 2. What the machine refuses, such
    as a file or memory, is printed and the process exits with status 1. An interrupt (Ctrl-C) prints how to
    continue and exits with status 130. All other exceptions keep their traceback.

    Args:
        main: a function that takes the list of arguments, or None for those of the command line.

    Returns:
        the decorated function.
    """

    @functools.wraps(main)
    def wrapped(argv=None):
        try:
            return main(argv)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        except KeyboardInterrupt:
            print("interrupted; run the same command again to continue", file=sys.stderr)
            raise SystemExit(130) from None
        except Exception as error:
            message = _refusal(error)
            if message is None:
                raise
            print(f"error: {message}", file=sys.stderr)
            raise SystemExit(1) from None

    return wrapped


def _refusal(error):
    """Returns what the machine refused, in one line; None for every other exception."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    if isinstance(error, OSError) and error.strerror in DISK:  # of a write, which knows no name
        return error.strerror
    tensorflow = sys.modules.get("tensorflow")  # without it, no error can be one of TensorFlow
    if tensorflow and isinstance(error, tensorflow.errors.OpError):
        on_disk = re.match(
            rf"(?:{{{{.*}}}} )?(.*); ({'|'.join(map(re.escape, DISK))})", error.message
        )
        if on_disk:
            return f"{on_disk[1]}: {on_disk[2]}"
    if isinstance(error, MemoryError) or (
        tensorflow and isinstance(error, tensorflow.errors.ResourceExhaustedError)
    ):
        first = (str(error).strip().splitlines() or ["no more can be allocated"])[0]
        return f"out of memory: lower --batch-size or the size of the model ({first})"
    return None
