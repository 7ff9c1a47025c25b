"""What the scripts print of errors."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

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


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError(),
        OSError("a message of a library"),
        BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)),
        tf.errors.InvalidArgumentError(None, None, "a; Permission refused"),
        KeyError("No space left on device"),
    ],
)
def test_other_exceptions_keep_their_traceback(error):
    with pytest.raises(type(error)) as caught:
        script(error)()
    assert caught.value is error


def full(path=None):
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


TENSORFLOW = (
    "{{function_node __wrapped__SaveV2}} /runs/a b/ckpt-1.tempstate86; No space left on device "
    "[Op:SaveV2]"
)
OOM = "OOM when allocating tensor with shape[100000,100000] and type float"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/runs"), "/runs: Permission denied"),
        (FileNotFoundError(errno.ENOENT, "No such file", b"/x/y"), "/x/y: No such file"),
        (OSError(errno.EROFS, "Read-only file system", "/runs"), "/runs: Read-only file system"),
        (full("/runs/metrics.json"), "/runs/metrics.json: No space left on device"),
        (full(), "No space left on device"),
        (
            tf.errors.ResourceExhaustedError(None, None, TENSORFLOW),
            "/runs/a b/ckpt-1.tempstate86: No space left on device",
        ),
        (
            tf.errors.PermissionDeniedError(None, None, "/runs/logs; Permission denied"),
            "/runs/logs: Permission denied",
        ),
        (
            tf.errors.ResourceExhaustedError(None, None, f"{OOM}\nmore"),
            f"out of memory: lower --batch-size or the size of the model ({OOM})",
        ),
        (MemoryError("Unable to allocate 7.28 TiB"), "of the model (Unable to allocate 7.28 TiB)"),
        (MemoryError(), "out of memory"),
    ],
)
def test_what_the_machine_refuses_is_reported_in_one_line(capsys, error, line):
    with pytest.raises(SystemExit) as exit_info:
        script(error)()
    assert exit_info.value.code == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert line in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/proc/run", "No such file or directory"), ("file/run", "Not a directory")],
)
def test_a_run_in_a_forbidden_folder(tmp_path, path, reason):
    """These paths are forbidden for root too."""
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "apps.language_model.train", "--run", path]
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert process.returncode == 1
    assert process.stdout == ""
    assert process.stderr == f"error: {path}: {reason}\n"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_without_an_error_main_is_unchanged():
    assert script(None)(["a"]) == ["a"]
    assert script(None).__doc__ == "Fails."
