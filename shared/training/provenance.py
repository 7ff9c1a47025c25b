"""What a result depends on besides the code: command, versions, machine, commit."""

import dataclasses
import os
import pathlib
import platform
import re
import subprocess

import keras
import tensorflow as tf

PLACES = ("data_dir",)  # settings that say where the data lies: its hash says what it is


def command(app, preset, presets, config):
    """The training command, with the settings that differ from the preset's."""
    words = ["python -m", f"apps.{app}.train", preset]
    for name, value in dataclasses.asdict(config).items():
        flag = "--" + name.replace("_", "-")
        if name in PLACES and value:
            words += [flag, "DIR"]
        elif name not in PLACES and value != getattr(presets[preset], name):
            words += [flag, str(value)]
    return " ".join(words)


def versions():
    """Of Python and the two libraries that compute."""
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


def hardware():
    """The machine in words: processor, cores, GPUs."""
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        text = pathlib.Path("/proc/cpuinfo").read_text(errors="replace")
        found = re.search(r"model name\s*:\s*(.*)", text)
        name = found.group(1) if found else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = [
        tf.config.experimental.get_device_details(d).get("device_name", "GPU")
        for d in tf.config.list_physical_devices("GPU")
    ]
    return ", ".join([f"{name}, {cores} cores", *gpus])


def commit():
    """The commit of this checkout, with a + where files differ from it; None outside of git."""

    def git(*words):
        root = pathlib.Path(__file__).parents[2]
        command = ["git", "-C", root, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + "+" * bool(git("status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return None
