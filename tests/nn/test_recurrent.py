"""Recurrent cells and nets: equal to loops over their formulas, and to torch's where their candidate is torch's."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from gmlayers import GMLSTM, GMNMGRU, GMNMLSTM, parameter_groups
from gmlayers.nn import GMLSTMCell, GMNMGRUCell, GMNMLSTMCell

CELLS = {"GMLSTM": GMLSTMCell, "GMNMLSTM": GMNMLSTMCell, "GMNMGRU": GMNMGRUCell}
NETS = {"GMLSTM": GMLSTM, "GMNMLSTM": GMNMLSTM, "GMNMGRU": GMNMGRU}
OPTIONS = [("GMLSTM", {}), ("GMLSTM", {"activation": "gelu", "rank": 2}), ("GMLSTM", {"gate": False, "bias": False})]
OPTIONS += [("GMNMLSTM", {"rank": 2}), ("GMNMLSTM", {}), ("GMNMGRU", {"bias": False}), ("GMNMGRU", {})]

F64 = torch.float64


def inputs(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=F64)


def parts(y):
    return y if isinstance(y, tuple) else (y,)


def transcribed(cell, x, state):
    """Return the state after a token, by a loop over rows."""
    H, found = cell.hidden_size, []
    for n in range(len(x)):
        h = state[0][n]
        gates = torch.zeros(len(cell.weight), dtype=F64)
        for row in range(len(gates)):
            gates[row] = cell.weight[row] @ torch.cat([x[n], h]) + (0 if cell.bias is None else cell.bias[row])
        gates = 1 / (1 + torch.exp(-gates))
        if isinstance(cell, GMNMGRUCell):
            reset, keep = gates[:H], gates[H:]
            new = cell.candidate(torch.cat([x[n], reset * h]))
            found.append((keep * h + (1 - keep) * new,))
        else:
            into, forget, out = gates[:H], gates[H : 2 * H], gates[2 * H :]
            c = forget * state[1][n] + into * cell.candidate(torch.cat([x[n], h]))
            found.append((out * torch.tanh(c), c))
    return tuple(torch.stack(part) for part in zip(*found))


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_a_loop_gives_the_same(name, options):
    cell, x = CELLS[name](3, 4, dtype=F64, **options), inputs(5, 3)
    state = tuple(inputs(5, 4) for _ in range(cell._states))
    hx = state if len(state) == 2 else state[0]
    for found, wanted in zip(parts(cell(x, hx)), transcribed(cell, x, state)):
        torch.testing.assert_close(found, wanted)
    nothing = tuple(torch.zeros(5, 4, dtype=F64) for _ in state)
    for found, wanted in zip(parts(cell(x)), transcribed(cell, x, nothing)):
        torch.testing.assert_close(found, wanted)
    alone = parts(cell(x[0], (state[0][0], state[1][0]) if len(state) == 2 else state[0][0]))
    for found, wanted in zip(alone, transcribed(cell, x, state)):
        torch.testing.assert_close(found, wanted[0])


def test_a_candidate_that_is_torchs_makes_torchs_cell():
    H = 6
    cell = GMLSTMCell(3, H, activation="tanh", gate=False, spread=False, num_components=H, dtype=F64)
    other = nn.LSTMCell(3, H, dtype=F64)
    with torch.no_grad():
        i, f, g, o = torch.cat([other.weight_ih, other.weight_hh], 1).chunk(4)
        bi, bf, bg, bo = (other.bias_ih + other.bias_hh).chunk(4)
        cell.weight.copy_(torch.cat([i, f, o]))
        cell.bias.copy_(torch.cat([bi, bf, bo]))
        cell.candidate.mean.copy_(g)
        cell.candidate.bias.copy_(bg)
        cell.candidate.output_mean.copy_(torch.eye(H))
        cell.candidate.output_bias.zero_()
    x, state = inputs(5, 3), (inputs(5, H), inputs(5, H))
    torch.testing.assert_close(cell(x, state), other(x, state))
    net = GMLSTM(3, H, activation="tanh", gate=False, spread=False, num_components=H, dtype=F64)
    net.cells[0] = cell
    whole = nn.LSTM(3, H, dtype=F64)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            whole.get_parameter(f"{name}_l0").copy_(parameter)
    x = inputs(7, 5, 3)
    torch.testing.assert_close(net(x)[0], whole(x)[0])


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_net_is_a_loop_over_its_cells(name, layers, bidirectional):
    net = NETS[name](3, 4, layers, bidirectional=bidirectional, dtype=F64)
    x, ways, count = inputs(6, 2, 3), 1 + bidirectional, net.cells[0]._states
    state = tuple(inputs(layers * ways, 2, 4) for _ in range(count))
    y, ends = net(x, state if count == 2 else state[0])
    below, found = list(x), []
    for layer in range(layers):
        said = [[] for _ in below]
        for way in range(ways):
            place = layer * ways + way
            now = tuple(part[place] for part in state)
            for t in reversed(range(6)) if way else range(6):
                now = parts(net.cells[place](below[t], now if count == 2 else now[0]))
                said[t].append(now[0])
            found.append(now)
        below = [torch.cat(s, -1) for s in said]
    torch.testing.assert_close(y, torch.stack(below))
    for end, wanted in zip(parts(ends), zip(*found)):
        torch.testing.assert_close(end, torch.stack(wanted))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("is_sorted", [False, True])
def test_packed_sequences_are_each_by_itself(name, bidirectional, is_sorted):
    net = NETS[name](3, 4, 2, bidirectional=bidirectional, batch_first=True, dtype=F64)
    lengths = [5, 3, 1] if is_sorted else [3, 1, 5, 3]
    x = inputs(len(lengths), 5, 3)
    packed = pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=is_sorted)
    y, ends = net(packed)
    out, found = pad_packed_sequence(y, batch_first=True)
    assert found.tolist() == lengths
    theirs, _ = (nn.LSTM if "LSTM" in name else nn.GRU)(3, 4, dtype=F64)(packed)
    for one, other in zip(y[1:], theirs[1:]):
        assert one is other or torch.equal(one, other)
    for n, length in enumerate(lengths):
        alone, own = net(x[n, :length])
        torch.testing.assert_close(out[n, :length], alone)
        assert (out[n, length:] == 0).all()
        for end, wanted in zip(parts(ends), parts(own)):
            torch.testing.assert_close(end[:, n], wanted)


@pytest.mark.parametrize("name", NETS)
def test_shapes_are_those_of_torch(name):
    ours = NETS[name](3, 4, 2, batch_first=True, bidirectional=True)
    theirs = (nn.LSTM if "LSTM" in name else nn.GRU)(3, 4, 2, batch_first=True, bidirectional=True)
    for x in (torch.randn(2, 6, 3), torch.randn(6, 3), torch.randn(0, 6, 3)):
        (y, ends), (wanted, others) = ours(x), theirs(x) if len(x) else (torch.empty(0, 6, 8), None)
        assert y.shape == wanted.shape
        if others is not None:
            assert [p.shape for p in parts(ends)] == [p.shape for p in parts(others)]


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_cells_are_as_large_as_torchs(name, options):
    if "bias" in options:
        return
    ours = CELLS[name](32, 64, **options)
    theirs = (nn.LSTMCell if "LSTM" in name else nn.GRUCell)(32, 64)
    size, wanted = (sum(p.numel() for p in m.parameters()) for m in (ours, theirs))
    assert abs(size - wanted) < 0.03 * wanted


@pytest.mark.parametrize("name", CELLS)
def test_derivatives(name):
    cell, x = CELLS[name](2, 3, dtype=F64), inputs(2, 2).requires_grad_()
    names, values = zip(*cell.named_parameters())
    state = tuple(inputs(2, 3).requires_grad_() for _ in range(cell._states))

    def step(x, *rest):
        own, values = rest[: len(state)], rest[len(state) :]
        hx = own if len(own) == 2 else own[0]
        return torch.func.functional_call(cell, dict(zip(names, values)), (x, hx))

    arguments = (x, *state, *(v.detach().requires_grad_() for v in values))
    assert torch.autograd.gradcheck(step, arguments, fast_mode=True)
    assert torch.autograd.gradgradcheck(step, arguments, fast_mode=True)


@pytest.mark.parametrize("name", NETS)
def test_dropout_is_between_layers_and_in_training_alone(name):
    torch.manual_seed(0)
    net, x = NETS[name](3, 4, 2, dropout=0.5), torch.randn(5, 2, 3)
    assert not torch.equal(net(x)[0], net(x)[0])
    one = NETS[name](3, 4, 1, dropout=0.5)
    torch.testing.assert_close(one(x)[0], one(x)[0])
    net.eval()
    torch.testing.assert_close(net(x)[0], net(x)[0])


@pytest.mark.parametrize("name", NETS)
def test_what_comes_in_at_the_start_is_about_one(name):
    torch.manual_seed(0)
    cell = CELLS[name](64, 64)
    new = cell.candidate(torch.randn(1000, 128))
    assert 0.3 < float(new.detach().square().mean().sqrt()) < 2


@pytest.mark.parametrize("name", NETS)
def test_a_long_memory_is_learned(name):
    """The sign of the first token is to be told after ten others."""
    torch.manual_seed(0)
    net, head = NETS[name](2, 16), nn.Linear(16, 1)
    optimizer = torch.optim.Adam([*parameter_groups(net, weight_decay=0.0), {"params": head.parameters()}], lr=1e-2)
    losses = []
    for _ in range(400):
        x = torch.randn(10, 64, 2)
        x[1:, :, 1] = 0
        loss = nn.functional.binary_cross_entropy_with_logits(head(net(x)[0][-1])[:, 0], (x[0, :, 1] > 0).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-50:]) / 50 < 0.45 < math.log(2)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compile_export_and_autocast(name, dtype):
    net, x = NETS[name](3, 4, 2, bidirectional=True, dtype=dtype).eval(), torch.randn(4, 2, 3, dtype=dtype)
    y = net(x)[0]
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(net, fullgraph=True, backend="aot_eager")(x)[0], y)
    program = torch.export.export(net, (x,), dynamic_shapes=({1: torch.export.Dim("batch")},))
    more = torch.randn(4, 5, 3, dtype=dtype)
    torch.testing.assert_close(program.module()(more)[0], net(more)[0])
    if dtype == torch.float32:
        with torch.autocast("cpu", torch.bfloat16):
            half = net(x)[0]
        torch.testing.assert_close(half.float(), y, atol=0.05, rtol=0.05)


BAD = [
    (lambda n: NETS[n](0, 4), ValueError, "input_size must be at least 1"),
    (lambda n: NETS[n](3, 4.5), TypeError, "hidden_size"),
    (lambda n: NETS[n](3, 4, 0), ValueError, "num_layers must be at least 1"),
    (lambda n: NETS[n](3, 4, dropout=1.0), ValueError, r"dropout must lie in \[0, 1\)"),
    (lambda n: NETS[n](3, 4, bidirectional="yes"), TypeError, "bidirectional must be True or False"),
    (lambda n: NETS[n](3, 4)(torch.randn(5, 2, 4)), ValueError, r"expected an input of shape \(tokens, batch, 3\)"),
    (lambda n: NETS[n](3, 4)(torch.randn(0, 2, 3)), ValueError, "expected at least one token"),
    (lambda n: NETS[n](3, 4)(torch.randn(5, 2, 3).double()), ValueError, "the dtype of the parameters"),
    (lambda n: NETS[n](3, 4)([[1.0, 2.0, 3.0]]), TypeError, "the input must be a tensor"),
    (lambda n: NETS[n](3, 4)(torch.randn(5, 2, 3), torch.zeros(1, 3, 4)), (TypeError, ValueError), "hx"),
    (lambda n: CELLS[n](3, 4)(torch.randn(2, 4)), ValueError, r"expected an input of shape \(batch, 3\) or \(3,\)"),
    (lambda n: CELLS[n](3, 4)(torch.randn(2, 3), "no"), TypeError, "hx"),
]


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("call", "error", "said"), BAD)
def test_bad_input(name, call, error, said):
    with pytest.raises(error, match=said):
        call(name)


def test_unsorted_lengths_are_torchs_to_refuse():
    with pytest.raises(RuntimeError, match="sorted"):
        pack_padded_sequence(torch.randn(5, 2, 3), torch.tensor([3, 5]))


@pytest.mark.parametrize("name", NETS)
def test_hooks_and_pruning_of_cells_hold_in_nets(name):
    net, x, seen = NETS[name](3, 4), torch.randn(5, 2, 3), []
    net.cells[0].register_forward_hook(lambda *_: seen.append(1))
    net(x)
    assert len(seen) == 5
    prune.l1_unstructured(net.cells[0], "weight", 0.5)
    for _ in range(2):
        net(x)[0].sum().backward()
    other = NETS[name](3, 4)
    prune.l1_unstructured(other.cells[0], "weight", 0.5)
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(other(x)[0], net(x)[0])
