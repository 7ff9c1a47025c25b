"""Errors in the user's input, reported in one line without a traceback."""

import functools
import sys


class InputError(Exception):
    """Invalid input: a file, an argument or a run. The message names it and says what to do.

    It is not a ValueError, because `tyro` catches those and prints them in its own format.
    """


class PredictError(InputError):
    """A request that a model or a server cannot answer."""


def reported(main):
    """Decorates a script's `main(argv=None)` so that input errors are reported in one line.

    An `InputError` is printed to stderr and the process exits with status 2. An interrupt (Ctrl-C)
    prints how to continue and exits with status 130. All other exceptions keep their traceback.

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

    return wrapped
