"""Attention by mixtures of Gaussians: equal to a loop, to its reference, and to torch's attention where that is it."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from gmlayers import GMNMAttention, parameter_groups
from gmlayers.functional.attention import log_scores, mixture_attention
from gmlayers.nn import KeyValueCache
from gmlayers.nn import _attention as module_under_test

KINDS = [(1, "shift"), (3, "shift"), (2, "full")]


def made(components: int = 3, keys: str = "shift", **options: object) -> GMNMAttention:
    """Return a module whose stds and weights are not those of the start."""
    module = GMNMAttention(8, 4, components=components, keys=keys, batch_first=True, dtype=torch.float64, **options)  # type: ignore[arg-type]
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return module


def inputs(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def transcribed(module: GMNMAttention, x: Tensor, allowed: Tensor) -> Tensor:
    """Return the output by loops over tokens, heads and components; allowed is (batch, L, S)."""
    H, d, group = module.num_heads, module.head_dim, module.num_heads // module.num_key_heads
    q, k, v = module.q_proj(x), module.k_proj(x), module.v_proj(x)
    y = torch.zeros_like(q)
    for n, h, i in itertools.product(range(len(x)), range(H), range(x.shape[1])):
        g, own = h // group, slice(h * d, (h + 1) * d)
        total, read = torch.zeros(()).double(), torch.zeros(d).double()
        logits = torch.zeros(1).double() if module.weight_logits is None else module.weight_logits[g]
        weights = logits.exp() / logits.exp().sum()
        for j in range(x.shape[1]):
            if not allowed[n, i, j]:
                continue
            score = torch.zeros(()).double()
            for r in range(module.components):
                if module.keys == "full":
                    start = (g * module.components + r) * d
                    key = k[n, j, start : start + d]
                else:
                    key = k[n, j, g * d : (g + 1) * d] + (0 if module.shift is None else module.shift[g, r])
                score = score + weights[r] * torch.exp(-((q[n, i, own] - key) ** 2).sum() / (2 * module.std[g, r] ** 2))
            total = total + score
            read = read + score * v[n, j, g * d : (g + 1) * d]
        y[n, i, own] = read / total if total > 0 else read
    return module.out_proj(y)


@pytest.mark.parametrize(("components", "keys"), KINDS)
@pytest.mark.parametrize("heads", [4, 2, 1])
@pytest.mark.parametrize("is_causal", [False, True])
def test_a_loop_gives_the_same(components, keys, heads, is_causal):
    module, x = made(components, keys, num_key_heads=heads), inputs(2, 5, 8)
    allowed = torch.ones(5, 5).tril().bool() if is_causal else torch.ones(5, 5).bool()
    wanted = transcribed(module, x, allowed.expand(2, 5, 5))
    y, none = module(x, is_causal=is_causal)
    torch.testing.assert_close(y, wanted)
    assert none is None
    y, weights = module(x, is_causal=is_causal, need_weights=True)
    torch.testing.assert_close(y, wanted)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 5).double())
    assert (weights[:, ~allowed] == 0).all()


def test_the_reference_is_a_loop():
    q, k, v = inputs(2, 4, 3), inputs(2, 5, 2, 3), inputs(2, 5, 6)
    std, log_weight = torch.rand(2).double() + 0.5, torch.randn(2).double()
    scores = log_scores(q, k, std, log_weight)
    for n, i, j, r in itertools.product(range(2), range(4), range(5), range(2)):
        wanted = log_weight[r] - ((q[n, i] - k[n, j, r]) ** 2).sum() / (2 * std[r] ** 2)
        torch.testing.assert_close(scores[n, i, j, r], wanted)
    y, weights = mixture_attention(q, k, v, std, log_weight)
    torch.testing.assert_close(weights, scores.exp().sum(-1) / scores.exp().sum((-2, -1))[..., None])
    torch.testing.assert_close(y, weights @ v)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("is_causal", [False, True])
def test_one_component_is_torchs_attention_with_a_bias_of_the_key(dtype, is_causal):
    module = GMNMAttention(12, 3, batch_first=True, dtype=dtype)
    other = nn.MultiheadAttention(12, 3, batch_first=True, dtype=dtype)
    with torch.no_grad():
        other.in_proj_weight.copy_(torch.cat([module.q_proj.weight, module.k_proj.weight, module.v_proj.weight]))
        other.out_proj.weight.copy_(module.out_proj.weight)
    x = torch.randn(2, 7, 12, dtype=dtype)
    keys = module.k_proj(x).unflatten(-1, (3, 4)).transpose(1, 2)
    bias = -0.5 * keys.square().sum(-1) / math.sqrt(4)  # at the start, which is the scale of torch
    mask = bias.unsqueeze(2).expand(2, 3, 7, 7)
    if is_causal:
        mask = mask.masked_fill(~torch.ones(7, 7).tril().bool(), -torch.inf)
    wanted, _ = other(x, x, x, attn_mask=mask.flatten(0, 1), need_weights=False)
    y, _ = module(x, is_causal=is_causal)
    torch.testing.assert_close(y, wanted, atol=1e-6, rtol=1e-6)


@settings(max_examples=40)
@given(
    st.sampled_from(KINDS),
    st.integers(0, 9),
    st.integers(0, 9),
    st.sampled_from(["bool", "float", "none"]),
    st.booleans(),
)
def test_masks_and_lengths_are_those_of_the_reference(kind, L, S, masks, is_causal):
    torch.manual_seed(L + 10 * S)
    module, query, key = made(*kind), inputs(2, L, 8), inputs(2, S, 8)
    options = {"is_causal": is_causal}
    if masks == "bool":
        options |= {"attn_mask": torch.rand(2 * 4, L, S) < 0.4, "key_padding_mask": torch.rand(2, S) < 0.3}
    elif masks == "float":
        options |= {"attn_mask": inputs(L, S), "key_padding_mask": torch.rand(2, S) < 0.3}
    fused, _ = module(query, key, **options)
    plain, weights = module(query, key, need_weights=True, average_attn_weights=False, **options)
    torch.testing.assert_close(fused, plain)
    assert weights.shape == (2, 4, L, S)
    assert fused.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("L", [1, 3, 4, 5, 9])
@pytest.mark.parametrize("masked", [False, True])
def test_blocks_of_queries_are_all_of_them(kind, L, masked, monkeypatch):
    monkeypatch.setattr(module_under_test, "BLOCK", 4)
    module, x = made(*kind), inputs(2, L, 8)
    mask = inputs(L, L) if masked else None
    fused, _ = module(x, is_causal=True, attn_mask=mask)
    plain, _ = module(x, is_causal=True, attn_mask=mask, need_weights=True)
    torch.testing.assert_close(fused, plain)


@pytest.mark.parametrize("kind", KINDS)
def test_a_query_that_may_look_nowhere_reads_nothing(kind):
    module, x = made(*kind), inputs(2, 5, 8).requires_grad_()
    mask = torch.zeros(5, 5).bool()
    mask[2] = True
    for need_weights in (False, True):
        y, weights = module(x, attn_mask=mask, need_weights=need_weights)
        torch.testing.assert_close(y[:, 2], module.out_proj.bias.expand(2, 8))
        y.sum().backward()
        assert x.grad is not None
        assert x.grad.isfinite().all()
        assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
        if weights is not None:
            assert (weights[:, 2] == 0).all()
    y, _ = module(x, inputs(2, 0, 8))
    torch.testing.assert_close(y, module.out_proj.bias.expand(2, 5, 8))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [(1,) * 7, (3, 1, 3), (7,)])
def test_a_cache_goes_on_where_it_was(kind, steps):
    module, x, cache = made(*kind, num_key_heads=2).eval(), inputs(2, 7, 8), KeyValueCache()
    parts = [module(part, is_causal=True, cache=cache)[0] for part in x.split(steps, 1)]
    torch.testing.assert_close(torch.cat(parts, 1), module(x, is_causal=True)[0])
    assert cache.length == 7
    with pytest.raises(ValueError, match="KeyValueCache: it holds keys of shape .* take one for every layer"):
        module(x[:1], is_causal=True, cache=cache)


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives(kind):
    module, x = made(*kind, num_key_heads=2), inputs(1, 3, 8)[..., :8].requires_grad_()
    names, parameters = zip(*module.named_parameters())
    parameters = tuple(p.detach().requires_grad_() for p in parameters)

    def fused(x, *values):
        return torch.func.functional_call(module, dict(zip(names, values)), (x,), {"is_causal": True})[0]

    def plain(x, *values):
        options = {"is_causal": True, "need_weights": True}
        return torch.func.functional_call(module, dict(zip(names, values)), (x,), options)[0]

    assert torch.autograd.gradcheck(fused, (x, *parameters), fast_mode=True)
    assert torch.autograd.gradcheck(plain, (x, *parameters), fast_mode=True)
    assert torch.autograd.gradgradcheck(plain, (x, *parameters), fast_mode=True)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        assert torch.autograd.gradgradcheck(fused, (x, *parameters), fast_mode=True)


def test_axes_are_where_torch_has_them():
    module, x, key = made(), inputs(2, 5, 8), inputs(2, 4, 8)
    wanted, weights = module(x, key, need_weights=True)
    other = copy.deepcopy(module)
    other.batch_first = False
    y, same = other(x.transpose(0, 1), key.transpose(0, 1), need_weights=True)
    torch.testing.assert_close(y.transpose(0, 1), wanted)
    torch.testing.assert_close(same, weights)
    for one in (module, other):
        y, alone = one(x[0], key[0], need_weights=True)
        torch.testing.assert_close(y, wanted[0])
        torch.testing.assert_close(alone, weights[0])


def test_keys_and_values_may_have_sizes_of_their_own():
    module = GMNMAttention(8, 2, kdim=3, vdim=5, components=2, keys="full", batch_first=True)
    y, weights = module(torch.randn(2, 4, 8), torch.randn(2, 6, 3), torch.randn(2, 6, 5), need_weights=True)
    assert y.shape == (2, 4, 8)
    assert weights.shape == (2, 4, 6)


def test_dropout_keeps_the_mean():
    module, x = made(2, dropout=0.5), inputs(1, 6, 8)
    y, _ = module.eval()(x)
    module.train()
    for need_weights in (False, True):
        draws = torch.stack([module(x, need_weights=need_weights)[0] for _ in range(2000)]).detach()
        error = draws.std(0) / math.sqrt(2000)
        assert ((draws.mean(0) - y).abs() < 5 * error).all()
        assert error.min() > 0


def test_the_start_is_that_of_scaled_dot_products():
    module = GMNMAttention(32, 2, components=3)
    torch.testing.assert_close(module.std, torch.full((2, 3), 2.0))
    torch.testing.assert_close(module._log_weight(), torch.full((2, 3), -math.log(3)))
    assert module.shift is not None
    assert 0.3 < float(module.shift.detach().std()) < 0.7  # 16^(-1/4)
    one = GMNMAttention(32, 2)
    assert one.shift is None
    assert one.weight_logits is None
    assert {n for n, _ in one.named_parameters()} == {
        "std",
        *(f"{p}_proj.{w}" for p in ("q", "k", "v", "out") for w in ("weight", "bias")),
    }


def test_stds_and_shifts_do_not_decay():
    module = GMNMAttention(8, 2, components=2)
    rest, biases, stds = parameter_groups(module, weight_decay=0.1)
    assert {id(p) for p in stds["params"]} == {id(module.std)}
    assert id(module.shift) in {id(p) for p in biases["params"]}
    assert rest["weight_decay"] == 0.1
    assert biases["weight_decay"] == stds["weight_decay"] == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 30.0])
def test_float32_and_half_precision_are_close_to_float64(kind, scale):
    exact, x = made(*kind), scale * inputs(2, 9, 8)
    wanted, _ = exact(x, is_causal=True)
    single = copy.deepcopy(exact).float()
    torch.testing.assert_close(single(x.float(), is_causal=True)[0].double(), wanted, atol=1e-4, rtol=1e-3)
    if scale <= 1:
        with torch.autocast("cpu", torch.bfloat16):
            y, _ = single(x.float(), is_causal=True)
        assert (y.double() - wanted).abs().max() < 0.1 * wanted.abs().max()


def test_causal_attention_of_one_component_makes_no_matrix(monkeypatch):
    seen = []
    true = F.scaled_dot_product_attention

    def watched(*args, **kwargs):
        seen.append((args[3] if len(args) > 3 else None, args[0].shape))
        return true(*args, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    module, x = GMNMAttention(16, 2, batch_first=True), torch.randn(1, 4096, 16)
    sizes = []

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in (out if isinstance(out, tuple) else (out,)) if isinstance(t, Tensor))
            return out

    with Sizes():
        y, _ = module(x, is_causal=True)
        y.sum().backward()
    assert seen == [(None, (1, 2, 4096, 9))]
    assert max(sizes) <= 4096 * 16 * 4
    assert "no matrix of queries times keys" in module.explain(4096, is_causal=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "once, no matrix"),
        ({"is_causal": True}, "for 8 blocks of 256 queries, a mask of 256 x 4,096 at a time"),
        ({"masked": True}, "once, a mask of 2,048 x 4,096"),
        ({"need_weights": True}, "plain operations, with a tensor of 2,048 x 2,048 x 2 x 2 numbers a head"),
    ],
)
def test_explain(options, said):
    text = GMNMAttention(8, 4, components=2).explain(2048, **options)
    assert text.startswith("a softmax over 4,096 pairs of key and component: ")
    assert said in text


@pytest.mark.parametrize(
    ("arguments", "options", "error", "said"),
    [
        ((8, 3), {}, ValueError, "embed_dim must be a multiple of num_heads, got 8 and 3"),
        ((8, 4), {"num_key_heads": 3}, ValueError, "num_heads must be a multiple of num_key_heads, got 4 and 3"),
        ((0, 1), {}, ValueError, "GMNMAttention: embed_dim must be at least 1"),
        ((8, 2), {"components": 0}, ValueError, "GMNMAttention: components must be at least 1"),
        ((8, 2), {"components": 1.5}, TypeError, "GMNMAttention: components"),
        ((8, 2), {"keys": "shifts"}, ValueError, "unknown kind of keys 'shifts'"),
        ((8, 2), {"dropout": 1.0}, ValueError, r"GMNMAttention: dropout must lie in \[0, 1\), got 1"),
        ((8, 2), {"dtype": torch.int64}, (ValueError, TypeError), "GMNMAttention: dtype"),
    ],
)
def test_bad_arguments(arguments, options, error, said):
    with pytest.raises(error, match=said):
        GMNMAttention(*arguments, **options)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda m: m(torch.randn(2, 5, 7)), ValueError, r"expected a query of shape \(batch, tokens, 8\)"),
        (lambda m: m(torch.randn(2, 5, 8), torch.randn(2, 5, 9)), ValueError, "expected a key of shape"),
        (lambda m: m(torch.randn(2, 5, 8), torch.randn(3, 5, 8)), ValueError, "must be of one batch"),
        (lambda m: m(*(torch.randn(2, n, 8) for n in (5, 4, 3))), ValueError, "as many tokens"),
        (lambda m: m(torch.randn(5, 8), torch.randn(2, 5, 8)), ValueError, "with as many axes"),
        (lambda m: m(torch.randn(2, 5, 8).double()), ValueError, "the dtype of the parameters"),
        (lambda m: m(torch.ones(2, 5, 8).long()), TypeError, "the query"),
        (
            lambda m: m(torch.randn(2, 5, 8), attn_mask=torch.zeros(5, 4).bool()),
            ValueError,
            r"expected an attn_mask of shape \(5, 5\) or \(4, 5, 5\), got \(5, 4\)",
        ),
        (
            lambda m: m(torch.randn(2, 5, 8), key_padding_mask=torch.zeros(5, 2).bool()),
            ValueError,
            r"expected a key_padding_mask of shape \(2, 5\), got \(5, 2\)",
        ),
    ],
)
def test_bad_inputs(call, error, said):
    with pytest.raises(error, match=said):
        call(GMNMAttention(8, 2, components=2, batch_first=True))


def test_empty_batches():
    module = made()
    assert module(inputs(0, 5, 8), is_causal=True)[0].shape == (0, 5, 8)
    assert module(inputs(2, 0, 8), is_causal=True)[0].shape == (2, 0, 8)


def test_projections_that_are_computed_are_not_drawn():
    module = GMNMAttention(8, 2)
    nn.utils.parametrizations.weight_norm(module.q_proj)
    with pytest.raises(RuntimeError, match="reset_parameters: remove the parametrizations"):
        module.reset_parameters()


@pytest.mark.parametrize("components", [1, 2])
def test_squares_that_float16_does_not_have(components):
    torch.manual_seed(0)
    module, x = GMNMAttention(32, 4, components=components, batch_first=True).eval(), 100 * torch.randn(2, 9, 32)
    half = copy.deepcopy(module).half()
    y, plain = half(x.half())[0], half(x.half(), need_weights=True)[0]
    assert y.isfinite().all()
    torch.testing.assert_close(y, plain, atol=1.0, rtol=0.05)


def test_a_call_that_is_refused_leaves_the_cache():
    module, cache = GMNMAttention(8, 2, batch_first=True), KeyValueCache()
    module(torch.randn(1, 3, 8), cache=cache)
    with pytest.raises(ValueError, match="expected an attn_mask of shape"):
        module(torch.randn(1, 1, 8), attn_mask=torch.zeros(1, 1), cache=cache)
    assert cache.length == 3
    with pytest.raises(ValueError, match="take one for every layer"):
        cache.extend(torch.randn(1, 1, 2, 4).double(), torch.randn(1, 1, 2, 4).double())


def test_lengths_may_vary_when_compiled():
    module = GMNMAttention(8, 2, batch_first=True)
    torch._dynamo.reset()
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    for length in (7, 9, 12):
        x = torch.randn(2, length, 8)
        torch.testing.assert_close(compiled(x, is_causal=True)[0], module(x, is_causal=True)[0])
