"""What a result depends on besides the code: command, versions, machine and commit."""

import dataclasses
import os
import pathlib
import platform
import re
import subprocess

import keras
import tensorflow as tf

PLACES = ("data_dir",)  # settings that say where the data is; its hash says what it is


def command(app, preset, presets, config, dtype_policy="float32", init_from=None):
    """Returns the training command, with the settings that differ from those of the preset.

    `init_from` is the `RunFolder` of --init-from, or None; the command names its usual place.
    """
    words = ["python -m", f"apps.{app}.train", preset]
    for field in dataclasses.fields(config):
        name, value = field.name, getattr(config, field.name)
        flag = "--" + name.replace("_", "-")
        if name in PLACES:
            words += [flag, *["DIR"] * len(value)] if value else []
        elif value != getattr(presets[preset], name):
            if isinstance(value, bool):
                words.append(flag if value else f"--no-{flag.removeprefix('--')}")
            else:
                words += [flag, *map(str, value if isinstance(value, tuple) else [value])]
    if dtype_policy != "float32":
        words += ["--dtype-policy", dtype_policy]
    if init_from is not None:
        words += ["--init-from", f"runs/{app}/{init_from.about['preset']}"]
    return " ".join(words)


def versions():
    """Returns the versions of Python and of the two libraries that compute."""
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


def hardware():
    """Returns a description of the machine: processor, number of cores, GPUs."""
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        text = pathlib.Path("/proc/cpuinfo").read_text(errors="replace")
        model = re.search(r"model name\s*:\s*(.*)", text)
        name = model.group(1) if model else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = [
        tf.config.experimental.get_device_details(d).get("device_name", "GPU")
        for d in tf.config.list_physical_devices("GPU")
    ]
    return ", ".join([f"{name}, {cores} cores", *gpus])


def commit():
    """Returns the commit of this checkout, with a + if files were changed; None outside of git."""

    def git(*words):
        root = pathlib.Path(__file__).parents[2]
        command = ["git", "-C", root, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + "+" * bool(git("status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return None
