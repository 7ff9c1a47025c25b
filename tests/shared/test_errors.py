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


def test_an_input_error_is_one_line(capsys):
    with pytest.raises(SystemExit) as end:
        script(InputError("x.txt, line 3: not UTF-8"))()
    assert end.value.code == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "error: x.txt, line 3: not UTF-8\n")


def test_ctrl_c_says_how_to_go_on(capsys):
    with pytest.raises(SystemExit) as end:
        script(KeyboardInterrupt())()
    assert end.value.code == 130
    assert "same command" in capsys.readouterr().err


def test_a_mistake_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        script(ZeroDivisionError())()


def test_all_well():
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
        ({"batch_size": 0}, "--batch-size is at least 1. Received: 0"),
        ({"dropout": 1.0}, "--dropout is a fraction, from 0 to below 1. Received: 1.0"),
        ({"dropout": float("nan")}, "--dropout is a fraction, from 0 to below 1. Received: nan"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(InputError) as caught:
        Settings(**settings)
    assert str(caught.value) == message
    Settings(batch_size=3, dropout=0.99)
