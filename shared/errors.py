"""Mistakes of the user, told in one line."""

import functools
import sys


class InputError(ValueError):
    """Bad input: a file, an argument, a run. The message names it and says what to do."""


def one_line(main):
    """Makes a script's `main` print an `InputError` as one line and exit with 2, without a traceback."""

    @functools.wraps(main)
    def wrapped(argv=None):
        try:
            return main(argv)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        except KeyboardInterrupt:
            print("stopped; nothing is lost: the same command takes it up again", file=sys.stderr)
            raise SystemExit(130) from None

    return wrapped
