"""Set for every test, before TensorFlow is imported; what is set outside wins."""

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # the same device for everyone: the CPU
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
