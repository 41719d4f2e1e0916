"""The doors (Prefect tasks) and, in folders, their rooms."""

import os

# Before TensorFlow or JAX is imported, in any process: else the first takes nearly a whole GPU, and the CUDA layout and
# other workers get what is left.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
