import pytest

from shared.errors import InputError, one_line


def script(error):
    @one_line
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
