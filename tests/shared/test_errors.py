"""Errors in settings, and what the scripts print of them."""

import dataclasses

import pytest

from shared.errors import InputError, at_least_one, fraction, reported


def script(error):
    @reported
    def main(argv=None):
        """Fails."""
        if error:
            raise error
        return argv

    return main


def test_an_input_error_is_reported_in_one_line(capsys):
    with pytest.raises(SystemExit) as exit_info:
        script(InputError("x.txt, line 3: not UTF-8"))()
    assert exit_info.value.code == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "error: x.txt, line 3: not UTF-8\n")


def test_ctrl_c_says_how_to_continue(capsys):
    with pytest.raises(SystemExit) as exit_info:
        script(KeyboardInterrupt())()
    assert exit_info.value.code == 130
    assert "same command" in capsys.readouterr().err


def test_other_exceptions_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        script(ZeroDivisionError())()


def test_without_an_error_main_is_unchanged():
    assert script(None)(["a"]) == ["a"]
    assert script(None).__doc__ == "Fails."


@dataclasses.dataclass
class Settings:
    batch_size: int = 1
    dropout: float = 0.0

    def __post_init__(self):
        at_least_one(self, "batch_size")
        fraction(self, "dropout")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "--batch-size must be at least 1. Received: 0"),
        ({"dropout": 1.0}, "--dropout must be at least 0 and below 1. Received: 1.0"),
        ({"dropout": float("nan")}, "--dropout must be at least 0 and below 1. Received: nan"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(InputError) as caught:
        Settings(**settings)
    assert str(caught.value) == message
    Settings(batch_size=3, dropout=0.99)
