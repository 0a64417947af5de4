import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; tests run side by side

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before triton is imported: its kernels run on CPU tensors
from hypothesis import settings

settings.register_profile("gmlayers", deadline=None, derandomize=True)  # the same examples on every machine
settings.load_profile("gmlayers")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell does that to what it runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests of Ctrl-C, and their children, need it


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param
