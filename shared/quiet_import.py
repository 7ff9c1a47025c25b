"""Imports TensorFlow without the lines that it prints on every machine.

TensorFlow's C++ code writes them to the file descriptor of stderr before TF_CPP_MIN_LOG_LEVEL has an effect.
While it is imported, stderr is a pipe to a second process, which runs this file and passes on every other
line. Another process, because the text of an import that crashes must not be lost.
"""

import contextlib
import glob
import os
import re
import subprocess
import sys

KNOWN = [
    rb"WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR",
    rb"I\d{4} .* port\.cc:\d+\] oneDNN custom operations are on\.",
    rb"I\d{4} .* cudart_stub\.cc:\d+\] Could not find cuda drivers on your machine",
    rb"I\d{4} .* cpu_feature_guard\.cc:\d+\] This TensorFlow binary is optimized to use available CPU",
    rb"To enable the following instructions: .* rebuild TensorFlow with the appropriate compiler",
]
WITHOUT_GPU = [rb"E\d{4} .* cuda_platform\.cc:\d+\] failed call to cuInit: "]


def import_tensorflow():
    """Imports TensorFlow, if it is not imported yet, and lists the devices.

    Warnings and errors are printed as always, and INFO messages only if TF_CPP_MIN_LOG_LEVEL is 0.
    """
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    with _filtered_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()  # prints a line too


@contextlib.contextmanager
def _filtered_stderr():
    """A context in which stderr, also that of C++ code, goes through `_filter` in another process."""
    command = [sys.executable, "-I", "-S", __file__]
    try:
        stderr = os.dup(2)
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    except OSError:  # stderr is closed, or no process can be started: nothing is filtered
        yield
        return
    with process:  # waits at its end, so that no line comes late
        os.dup2(process.stdin.fileno(), 2)
        process.stdin.close()
        try:
            yield
        finally:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)


def _filter():
    """Copies the lines of stdin to stderr, except the known ones."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that imports
    has_gpu = glob.glob("/dev/nvidia*") or os.path.exists("/dev/dxg")
    known = re.compile(b"|".join(KNOWN if has_gpu else KNOWN + WITHOUT_GPU))
    for line in sys.stdin.buffer:
        if not known.match(line):
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()


if __name__ == "__main__":
    _filter()
