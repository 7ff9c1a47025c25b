"""What an import of TensorFlow prints, in processes of their own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHATTER = """\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795735623.741857    7767 port.cc:153] oneDNN custom operations are on. You may see slightly
I0000 00:00:1795735623.742433    7767 cudart_stub.cc:31] Could not find cuda drivers on your machine, GPU
I0000 00:00:1795735623.788698    7767 cpu_feature_guard.cc:227] This TensorFlow binary is optimized to use \
available CPU instructions in performance-critical operations.
To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow with the appropriate \
compiler flags.
"""
USEFUL = """\
a line of a library
W0000 00:00:1795735623.741857    7767 gpu_device.cc:2342] Cannot dlopen some GPU libraries.
E0000 00:00:1795735623.741857    7767 cuda_dnn.cc:1] Loaded runtime CuDNN library: 8.0 but source was 9.0
WARNING: All log messages of something else
"""


def run(code, cwd=ROOT, **variables):
    """Runs code in a new process, in which no variable of the tests is set; returns the process."""
    names = ("TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND", "CUDA_VISIBLE_DEVICES")
    env = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(
        [sys.executable, *(["-c", code] if isinstance(code, str) else code)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**env, "PYTHONPATH": str(ROOT), **variables},
    )


@pytest.mark.parametrize(
    "level", [{}, {"TF_CPP_MIN_LOG_LEVEL": "0"}, {"TF_CPP_MIN_LOG_LEVEL": "3"}]
)
def test_an_import_prints_nothing(level):
    code = "import apps, sys; print('tensorflow' in sys.modules)"
    process = run(code, **level)
    assert (process.stdout, process.stderr) == ("True\n", "")


def test_the_help_prints_nothing_to_stderr():
    process = run(["-m", "apps.language_model.train", "default", "--help"])
    assert process.returncode == 0
    assert "--units" in process.stdout
    assert process.stderr == ""


@pytest.fixture
def toy(tmp_path):
    """A function of code: writes it as the module `tensorflow`, and imports that as an app does."""

    def imported(code):
        (tmp_path / "tensorflow.py").write_text(f"import os, sys, types\n{code}\n")
        code = (
            "from shared.quiet_import import import_tensorflow; import_tensorflow();"
            "import os; os.write(2, b'after the import\\n')"
        )
        return run(code, tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")

    return imported


CONFIG = "config = types.SimpleNamespace(list_physical_devices=lambda: None)"


def test_other_lines_are_printed_in_their_order(toy):
    both = CHATTER + USEFUL + CHATTER
    process = toy(
        f"os.write(2, {both!r}.encode()); print('from Python', file=sys.stderr)\n{CONFIG}"
    )
    assert process.returncode == 0
    assert process.stderr == f"{USEFUL}from Python\nafter the import\n"


def test_a_crash_loses_no_line(toy):
    process = toy(
        f"os.write(2, {CHATTER + USEFUL!r}.encode()); os.kill(os.getpid(), {signal.SIGSEGV})"
    )
    assert process.returncode == -signal.SIGSEGV
    assert process.stderr == USEFUL


def test_an_error_keeps_its_traceback(toy):
    process = toy(f"os.write(2, {CHATTER!r}.encode()); raise ImportError('libcudart is broken')")
    assert process.returncode == 1
    assert process.stderr.startswith("Traceback")
    assert process.stderr.endswith("ImportError: libcudart is broken\n")


def test_stderr_may_be_closed(tmp_path):
    code = (
        "import os; os.close(2);"
        "from shared.quiet_import import import_tensorflow; import_tensorflow();"
        "import sys; print('tensorflow' in sys.modules)"
    )
    (tmp_path / "tensorflow.py").write_text(f"import types\n{CONFIG}\n")
    process = run(code, tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert process.stdout == "True\n"


# --- The backend of Keras ------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["jax", "torch", "numpy"])
def test_another_backend_is_refused_in_one_line(backend):
    process = run(["-m", "apps.language_model.train", "--help"], KERAS_BACKEND=backend)
    assert process.returncode == 2
    assert process.stdout == ""
    assert process.stderr == (
        "error: this project needs the TensorFlow backend of Keras. "
        f"Received: KERAS_BACKEND={backend}\n"
    )


def test_the_backend_of_keras_json_does_not_matter(tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    process = run("import apps, keras; print(keras.config.backend())", KERAS_HOME=str(tmp_path))
    assert (process.stdout, process.stderr) == ("tensorflow\n", "")
