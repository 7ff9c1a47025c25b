"""Mistakes of the user, told in one line."""

import functools
import sys


class InputError(Exception):
    """Bad input: a file, an argument, a run. The message names it and says what to do.

    No ValueError: `tyro` would put it into a box of its own.
    """


def at_least_one(config, *names):
    """Raises InputError where one of these settings is below 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise InputError(f"{_flag(name)} is at least 1. Received: {getattr(config, name)}")


def fraction(config, *names):
    """Raises InputError where one of these settings is not from 0 to below 1."""
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            value = getattr(config, name)
            raise InputError(f"{_flag(name)} is a fraction, from 0 to below 1. Received: {value}")


def _flag(name):
    return f"--{name.replace('_', '-')}"


def reported(main):
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
