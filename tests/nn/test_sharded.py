"""Modules whose parameters are spread over processes by FSDP2, and that are drawn on no device at first."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from gmlayers import GMNM, GMConv1d, GMConv2d, GMFeedForward, GMLayer, GMNMAttention, GMNMConv2d, GMNMFeedForward

WORLD = 2
STEPS = 3


class Attention(GMNMAttention):
    """Attention that returns the output alone."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x.transpose(0, 1))[0].transpose(0, 1)


DENSE: dict[str, Callable[[], nn.Module]] = {
    "low rank": lambda: GMLayer(5, 5, 3),
    "shared factor": lambda: GMLayer(5, 5, 3, covariance="shared_factor"),
    "diagonal": lambda: GMLayer(5, 5, 3, covariance="diagonal"),
    "full": lambda: GMLayer(5, 5, 3, covariance="full"),
    "paper": lambda: GMLayer.paper(5, 5, 3),
    "weights": lambda: GMLayer(5, 5, 3, learn_weights=True),
    "feed-forward": lambda: GMFeedForward(5),
    "without variance": lambda: GMFeedForward(5, spread=False),
    "bumps": lambda: GMNMFeedForward(5, rank=2),
    "module": lambda: GMNM(5, 5, 7),
    "ridges in a box": lambda: GMNM(5, 5, 7, form="ridge", domain=(-9, 9)),
}
MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    **{name: (make, (8, 5)) for name, make in DENSE.items()},
    "convolution 1d": (lambda: GMConv1d(2, 3, 3, padding=1), (4, 2, 9)),
    "convolution 2d": (lambda: GMConv2d(2, 4, 3, padding=1, groups=2), (4, 2, 5, 6)),
    "attention": (lambda: Attention(4, 2, components=2), (6, 5, 4)),
    "bumps over patches": (lambda: GMNMConv2d(2, 3, 3), (4, 2, 5, 6)),
}


class Stack(nn.Module):
    """All dense modules, one after the other, as the layers of a net; each is a unit of FSDP2."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(make() for make in DENSE.values())

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x)
        return x


def batch(step: int) -> Tensor:
    return torch.randn(8, 5, generator=torch.Generator().manual_seed(step))


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: range, rank: int = 0, world: int = 1) -> list[float]:
    """Return the losses of this process; gradients are means over all of them."""
    losses = []
    for step in steps:
        loss = (net(batch(step).chunk(world)[rank]) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def optimizer_of(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(net.parameters(), lr=1e-2)


def sharded(rank: int, port: int, folder: str, doubles: bool) -> None:
    """One of the processes; raises where something does not hold."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=WORLD)
    try:
        torch.set_default_dtype(torch.float64 if doubles else torch.float32)
        mesh = init_device_mesh("cpu", (WORLD,))
        for name, (make, shape) in MODULES.items():
            _check_module(name, make, shape, mesh, rank)
        with torch.device("meta"):
            net = Stack()
        for layer in net.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(net, mesh=mesh)
        net.to_empty(device="cpu")
        torch.manual_seed(0)
        for layer in net.layers:
            layer.reset_parameters()  # type: ignore[operator]
        optimizer = optimizer_of(net)
        losses = train(net, optimizer, range(STEPS), rank, WORLD)
        model, state = get_state_dict(net, optimizer)
        dcp.save({"model": model, "optimizer": state}, checkpoint_id=f"{folder}/checkpoint")
        torch.save(losses, f"{folder}/losses-{rank}.pt")
        dist.barrier()  # who ends first does not cut the others off
    finally:
        dist.destroy_process_group()


def _check_module(
    name: str, make: Callable[[], nn.Module], shape: tuple[int, ...], mesh: dist.DeviceMesh, rank: int
) -> None:
    whole = make()
    torch.manual_seed(0)
    whole.reset_parameters()  # type: ignore[operator]
    with torch.device("meta"):
        module = make()
    fully_shard(module, mesh=mesh)
    module.to_empty(device="cpu")
    torch.manual_seed(rank)  # what the others draw does not matter
    module.reset_parameters()  # type: ignore[operator]
    for (key, shard), parameter in zip(module.named_parameters(), whole.parameters()):
        assert len(shard.to_local()) < max(2, len(parameter)), (name, key)  # type: ignore[attr-defined]
        torch.testing.assert_close(shard.full_tensor(), parameter.detach(), rtol=0, atol=0)  # type: ignore[attr-defined]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    y, wanted = module(x.chunk(WORLD)[rank]), whole(x)
    torch.testing.assert_close(y, wanted.chunk(WORLD)[rank])
    y.square().mean().backward()
    wanted.square().mean().backward()
    for (key, shard), parameter in zip(module.named_parameters(), whole.parameters()):
        if parameter.grad is not None:
            grad = shard.grad.full_tensor()  # type: ignore[union-attr]
            assert torch.allclose(grad, parameter.grad, rtol=1e-4, atol=1e-6), (name, key)


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="needs gloo")
@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")  # in the one process that goes on
@pytest.mark.parametrize("doubles", [False, True])
def test_two_processes_train_as_one_does_and_one_goes_on_from_them(tmp_path: Path, doubles: bool) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    mp.spawn(sharded, (port, str(tmp_path), doubles), WORLD)
    dtype = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64 if doubles else torch.float32)
        torch.manual_seed(0)
        net = Stack()
        optimizer = optimizer_of(net)
        losses = train(net, optimizer, range(STEPS))
        theirs = torch.tensor([torch.load(tmp_path / f"losses-{rank}.pt") for rank in range(WORLD)])
        torch.testing.assert_close(theirs.mean(0), torch.tensor(losses))
        other = Stack()
        for layer in other.layers:
            if isinstance(layer, GMNM) and layer.domain is not None:
                layer.domain = tuple((-1.0,) * 5), tuple((1.0,) * 5)
        again = optimizer_of(other)
        model, state = get_state_dict(other, again)
        content = {"model": model, "optimizer": state}
        dcp.load(content, checkpoint_id=tmp_path / "checkpoint", no_dist=True)
        set_state_dict(other, again, model_state_dict=content["model"], optim_state_dict=content["optimizer"])
        assert [getattr(a, "domain", 0) for a in other.layers] == [getattr(b, "domain", 0) for b in net.layers]
        ours, further = train(net, optimizer, range(STEPS, 6)), train(other, again, range(STEPS, 6))
        torch.testing.assert_close(further, ours, rtol=1e-6 if doubles else 1e-4, atol=0)
    finally:
        torch.set_default_dtype(dtype)


@pytest.mark.parametrize("name", MODULES)
def test_modules_without_numbers_are_drawn_as_others_are(name: str) -> None:
    make, shape = MODULES[name]
    whole = make()
    torch.manual_seed(0)
    whole.reset_parameters()  # type: ignore[operator]
    with torch.device("meta"):
        module = make()
    assert all(p.is_meta for p in module.parameters())
    module.to_empty(device="cpu")
    torch.manual_seed(0)
    module.reset_parameters()  # type: ignore[operator]
    torch.testing.assert_close(dict(module.state_dict()), dict(whole.state_dict()), rtol=0, atol=0)
    x = torch.randn(shape)
    torch.testing.assert_close(module(x), whole(x), rtol=0, atol=0)
