"""What the scripts print of errors."""

import pytest

from shared.errors import InputError, reported


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
