"""Attacks by too little memory: what was needed and what would fit is said, and no answer is made up."""

import subprocess
import sys

import pytest
import torch

from gmlayers import solve
from gmlayers.solve import _memory

LIMITED = """
import resource, warnings
import torch
torch.set_num_threads(1)
warnings.simplefilter("ignore")
from gmlayers import GMNM, solve
F64 = torch.float64
x = torch.rand(8000, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
y = torch.sin(5 * x.sum(1, keepdim=True))
def module(n):
    return GMNM(2, 1, n, domain=(0, 1), dtype=F64)
u = solve.unknown(2)
problem = solve.Problem(solve.Box((0, 0), (1, 1)), solve.laplacian(u) == 1, {"boundary": u == 0})
many, some = module(2000), module(300)
solve.variable_projection(module(3), x[:50], y[:50], iterations=1)  # what is loaded once
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MIB * 2**20,) * 2)
try:
    print("found", CALL)
except MemoryError as error:
    print(error)
    print(getattr(error, "best_so_far", None) is not None)
"""
CALLS = {
    "fit": ("solve.fit(many, x, y)", 200),
    "widen": ("solve.widen(many, x, y)", 200),
    "variable_projection": ("solve.variable_projection(some, x, y)", 200),
    "collocate": ("solve.collocate(some, problem)", 200),
    "least_squares": ("solve.least_squares([(torch.rand(9, 3000), torch.rand(9, 1))])", 200),
    "solve": ("solve.solve(problem, 1e-13)", 90),
    "approximate": ("solve.approximate(x, y, 1e-14)", 60),
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are those of Linux")
@pytest.mark.parametrize("name", CALLS)
def test_what_was_needed_and_what_would_fit_is_said(name):
    call, limit = CALLS[name]
    code = LIMITED.replace("MIB", str(limit)).replace("CALL", call)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    said, best = run.stdout.strip().splitlines()[-2:]
    assert "allocat" not in said.lower()
    if name != "approximate":  # there it may be a smaller piece that is not to be had
        assert "of memory at once, and about" in said
        assert "which is enough for" in said
    assert ": " in said
    assert best == str(name == "solve") or name == "approximate"


@pytest.mark.parametrize("room", [0, 80, 999, 1000, 10**6])
def test_the_number_that_fits_is_the_largest_that_does(monkeypatch, room):
    monkeypatch.setattr(_memory, "_can_be_had", lambda size: size <= room)
    monkeypatch.setattr(_memory, "HALVINGS", 60)
    fits = next(k for k in range(100, -1, -1) if k**2 <= room)
    if fits < 100:
        with pytest.raises(MemoryError, match=rf"f: 101 things need about .* which is enough for {fits}; take fewer"):
            _memory.check_memory("f", "things", 101, lambda k: k**2, torch.device("cpu"))
    _memory.check_memory("f", "things", fits, lambda k: k**2, torch.device("cpu"))


RAW = [
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 8000 bytes. Error code 12"
    ),
    RuntimeError("std::bad_alloc"),
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has"),
]


@pytest.mark.parametrize("raw", RAW, ids=str)
def test_words_of_allocators_become_ours_and_the_best_so_far_stays(raw):
    def callback(step):
        raise raw

    with pytest.raises(
        MemoryError, match=r"solve: there is not enough memory, .* could not be had; take fewer"
    ) as caught:
        solve.solve(solve.problems.heat().problem, callback=callback)
    assert caught.value.best_so_far.reason == "interrupted"
    assert caught.value.__cause__ is raw


@pytest.mark.parametrize("other", [RuntimeError("no"), MemoryError("mine")])
def test_other_errors_stay_as_they_are(other):
    def callback(step):
        raise other

    with pytest.raises(type(other)) as caught:
        solve.solve(solve.problems.heat().problem, callback=callback)
    assert caught.value is other
