import copy
import json
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gmlayers import GMFeedForward, GMLayer, GMNMFeedForward, LowRank, convert
from gmlayers.convert._gated import INTEGRALS
from gmlayers.functional import ACTIVATIONS, Activation

PHI = {
    "gelu": F.gelu,
    "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
    "silu": F.silu,
    "relu": F.relu,
    "identity": lambda z: z,
    "sigmoid": torch.sigmoid,
    "step": lambda z: (z > 0).to(z.dtype),
}


class Gated(nn.Module):
    """A block as Llama has it."""

    def __init__(self, act, d=6, h=10, out=5, bias=True, drop=0.0):
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(d, h, bias=bias), nn.Linear(d, h, bias=False)
        self.down_proj, self.act_fn, self.drop = nn.Linear(h, out, bias=bias), act, nn.Dropout(drop)

    def forward(self, x):
        return self.down_proj(self.drop(self.act_fn(self.gate_proj(x)) * self.up_proj(x)))


def parts(block):
    return block.gate_proj, block.up_proj, block.down_proj


@pytest.mark.parametrize("name", INTEGRALS)
@pytest.mark.parametrize("bias", [True, False])
def test_gated_units_are_a_limit_of_gaussian_neurons(name, bias, dtype):
    block = Gated(PHI[name], bias=bias).to(dtype)
    x = 3 * torch.randn(40, 6, dtype=dtype)
    exact = block(x)
    found = convert.glu_to_gm(*parts(block), name)
    assert not found.spread
    assert (found(x) - exact).abs().max() <= (1e-6 if dtype == torch.float32 else 1e-14) * exact.abs().max()
    near = convert.glu_to_gm(*parts(block), name, start=0.0)  # with stds, by the expectations
    assert (near(x) - exact).abs().max() <= (1e-5 if dtype == torch.float32 else 1e-7) * exact.abs().max()


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu", "sigmoid"])
def test_the_function_moves_by_the_square_of_the_start(name):
    block = Gated(PHI[name]).double()
    x = torch.randn(40, 6, dtype=torch.float64)
    with torch.no_grad():
        moved = [(convert.glu_to_gm(*parts(block), name, start=start)(x) - block(x)).norm() for start in (0.02, 0.04)]
    assert float(moved[1] / moved[0]) == pytest.approx(4.0, rel=0.1)


def test_the_bilinear_unit_is_one_at_every_variance():
    block = Gated(PHI["identity"]).double()
    x = torch.randn(40, 6, dtype=torch.float64)
    torch.testing.assert_close(convert.glu_to_gm(*parts(block), "identity", start=0.7)(x), block(x))


def test_a_started_block_is_a_gm_layer():
    block = Gated(F.silu).double()
    started = convert.glu_to_gm(*parts(block), "silu", start=0.1)
    x = torch.randn(9, 6, dtype=torch.float64)
    torch.testing.assert_close(convert.to_layer(started)(x), started(x))
    with pytest.raises(ValueError, match="to_layer: a component does not vary with its factor"):
        convert.to_layer(convert.glu_to_gm(*parts(block), "silu"))


def test_weights_are_copies_and_the_mode_stays():
    block = Gated(F.silu).eval()
    found = convert.glu_to_gm(*parts(block), "silu", drop=0.25)
    assert not found.training
    assert found.drop.p == 0.25
    with torch.no_grad():
        found.mean.zero_()
    assert (block.gate_proj.weight != 0).all()


def test_refusals():
    good = Gated(F.silu)
    with pytest.raises(TypeError, match=r"glu_to_gm: up_proj must be an nn\.Linear"):
        convert.glu_to_gm(good.gate_proj, None, good.down_proj)
    with pytest.raises(ValueError, match=r"weights \(10, 6\) \(gate_proj\), \(9, 6\) \(up_proj\) and \(5, 10\)"):
        convert.glu_to_gm(good.gate_proj, nn.Linear(6, 9), good.down_proj)
    with pytest.raises(ValueError, match="up_proj has a bias, and the reading of a Gaussian neuron has none"):
        convert.glu_to_gm(good.gate_proj, nn.Linear(6, 10), good.down_proj)
    with pytest.raises(ValueError, match=r"activation must be one of gelu, gelu_tanh, silu, .*, got 'sin'"):
        convert.glu_to_gm(*parts(good), "sin")
    own = Activation(F.silu, ACTIVATIONS["silu"].mean, ACTIVATIONS["silu"].gate, "silu")
    with pytest.raises(ValueError, match="activation must be one of"):
        convert.glu_to_gm(*parts(good), own)


# --- in models -----------------------------------------------------------------------------------------------


def exactly(block):
    return convert.glu_to_gm(block.gate, block.up, block.down, block.activation, drop=block.dropout)


@pytest.mark.parametrize(
    "act", [nn.SiLU(), nn.GELU(), nn.GELU("tanh"), nn.ReLU(), nn.Identity(), nn.Sigmoid()], ids=str
)
def test_gated_blocks_are_found_and_swapped_exactly(act):
    model = nn.Sequential(nn.Linear(6, 6), Gated(act, out=6), nn.LayerNorm(6)).eval()
    x = torch.randn(7, 6)
    exact = model(x)
    (block,) = convert.find_blocks(model)
    assert isinstance(block, convert.GatedBlock)
    assert (block.path, block.in_features, block.out_features) == ("1", 6, 6)
    before = model[1]
    swapped = convert.swap_layers(model, exactly)
    assert isinstance(model[1], GMFeedForward)
    assert (model(x) - exact).abs().max() <= 1e-5 * exact.abs().max()
    swapped.undo()
    assert model[1] is before
    assert torch.equal(model(x), exact)


def test_what_is_no_gated_block():
    class Other(Gated):
        def forward(self, x):
            return 2 * super().forward(x)

    assert convert.find_blocks(nn.ModuleList([Other(nn.SiLU())])) == []
    assert convert.find_blocks(nn.ModuleList([Gated(nn.PReLU())])) == []
    assert convert.find_blocks(Gated(nn.SiLU())) == []  # it has no place in anything
    with pytest.raises(ValueError, match=r"looked inside of it for .*down_proj\(act_fn\(gate_proj\) \* up_proj\)"):
        convert.swap_layers(Gated(nn.SiLU()), exactly)


def test_modes_are_left_as_they_were():
    model = nn.ModuleList([Gated(nn.SiLU(), drop=0.5)])
    model[0].act_fn.eval()
    pattern = convert.GatedPattern("gate_proj", "up_proj", "down_proj", "act_fn", ("drop",))
    (block,) = convert.find_blocks(model, patterns=[pattern])
    assert block.dropout == 0.5
    assert [m.training for m in model.modules()] == [True, True, True, True, True, False, True]


def test_a_swap_that_makes_plain_modules_of_gated_blocks_says_what_they_have():
    model = nn.Sequential(nn.Linear(6, 6), Gated(nn.SiLU()))
    with pytest.raises(
        ValueError, match="convert failed when called with GatedBlock: 'GatedBlock' object has no attribute 'first'"
    ):
        convert.swap_layers(model, lambda block: GMLayer.matching(block.first, block.second))
    assert isinstance(model[1], Gated)


def test_dropout_is_kept_by_a_module_that_has_it():
    model = nn.Sequential(nn.Linear(6, 10), nn.GELU(), nn.Dropout(0.3), nn.Linear(10, 6))
    with pytest.raises(ValueError, match="has dropout of 0.3 .* and the new module has none; make one that has it"):
        convert.swap_layers(model, lambda block: GMFeedForward(6, 10))
    convert.swap_layers(model, lambda block: GMFeedForward(6, 10, drop=block.dropout))
    assert isinstance(model[0], GMFeedForward)
    assert model[0].drop.p == 0.3
    assert isinstance(model[2], nn.Identity)


@pytest.mark.parametrize("norm", [nn.LayerNorm(10), nn.BatchNorm1d(10), nn.RMSNorm(10)], ids=lambda n: type(n).__name__)
@pytest.mark.parametrize("act", [nn.GELU(), nn.Tanh()], ids=str)
def test_a_norm_inside_is_seen_and_not_lost_in_silence(norm, act):
    model = nn.Sequential(nn.Linear(6, 10), norm, act, nn.Linear(10, 6))
    (block,) = convert.find_blocks(model)
    assert block.norm is norm
    assert f"norm={type(norm).__name__}" in repr(block)
    with pytest.raises(ValueError, match=f"has a {type(norm).__name__} between first and activation, which no new"):
        convert.swap_layers(model, lambda block: GMFeedForward(6, 10))
    convert.swap_layers(model, lambda block: GMFeedForward(6, 10), remove_norm=True)
    assert [type(part).__name__ for part in model] == ["GMFeedForward", "Identity", "Identity", "Identity"]


def test_quick_gelu_is_known():
    class QuickGELU(nn.Module):
        def forward(self, x):
            return x * torch.sigmoid(1.702 * x)

    (block,) = convert.find_blocks(nn.Sequential(nn.Linear(6, 10), QuickGELU(), nn.Linear(10, 6)))
    assert block.activation is ACTIVATIONS["quick_gelu"]


class Adapted(nn.Linear):
    """A linear map with an adapter, as LoRA has it."""

    def forward(self, x):
        return super().forward(x) + 3


def test_adapters_are_not_lost_in_silence():
    model = nn.ModuleList([Gated(nn.SiLU())])
    model[0].gate_proj = Adapted(6, 10)
    assert convert.find_blocks(model) == []
    with pytest.raises(ValueError, match="gate_proj is a Adapted, which does more than nn.Linear; merge what it adds"):
        convert.glu_to_gm(*parts(model[0]), "silu")


@pytest.mark.parametrize("act", [nn.ReLU6, nn.SiLU, nn.ReLU], ids=lambda a: a.__name__)
def test_activations_in_place_are_known_as_others(act):
    for gated in (False, True):
        found = []
        for inplace in (False, True):
            one = act(inplace=inplace)
            model = nn.ModuleList([Gated(one)]) if gated else nn.Sequential(nn.Linear(6, 9), one, nn.Linear(9, 6))
            found.append([block.activation for block in convert.find_blocks(model)])
        assert found[0] == found[1]
        assert bool(found[0]) == (act is not nn.ReLU6)


def test_dropout_elsewhere_is_not_lost_in_silence():
    class After(Gated):
        def __init__(self):
            super().__init__(nn.SiLU())
            self.after = nn.Dropout(0.5)

        def forward(self, x):
            return self.after(super().forward(x))

    model = nn.ModuleList([After()])
    assert convert.find_blocks(model) == []
    model[0].after.p = 0.0
    assert len(convert.find_blocks(model)) == 1


def test_a_block_that_is_used_twice_stays_one():
    model = nn.Module()
    model.a = model.b = Gated(nn.SiLU(), out=6)
    model.c = nn.Sequential(model.a)
    swapped = convert.swap_layers(model, exactly)
    assert len(swapped.blocks) == 1
    assert isinstance(model.a, GMFeedForward)
    assert model.a is model.b is model.c[0]
    swapped.undo()
    assert isinstance(model.a, Gated)
    assert model.a is model.b is model.c[0]


def test_what_cannot_be_called_is_no_block():
    class Picky(Gated):
        def forward(self, x, places=None):
            assert places is not None
            return super().forward(x)

    assert convert.find_blocks(nn.ModuleList([Picky(nn.SiLU())])) == []


def test_hooks_are_not_called_by_looking_and_not_lost():
    model = nn.ModuleList([Gated(nn.SiLU())])
    called = []
    model[0].down_proj.register_forward_hook(lambda *_: called.append(1))
    model[0].register_forward_pre_hook(lambda *_: called.append(1))
    assert len(convert.find_blocks(model)) == 1
    assert not called
    with pytest.raises(ValueError, match="has forward hooks, which would be lost"):
        convert.swap_layers(model, exactly)
    model[0](torch.randn(2, 6))
    assert len(called) == 2


def test_several_dtypes_are_refused():
    block = Gated(nn.SiLU()).bfloat16()
    block.down_proj.float()
    with pytest.raises(ValueError, match="weights are of torch.bfloat16, torch.float32, and a block has one dtype"):
        convert.glu_to_gm(*parts(block), "silu")


# --- records -------------------------------------------------------------------------------------------------


class Configured(nn.Module):
    """A model as transformers makes them."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.body = nn.Sequential(nn.Linear(6, 10), nn.GELU(), nn.Linear(10, 6))
        self.mlp = Gated(nn.SiLU(), out=6)

    def forward(self, x):
        return self.mlp(self.body(x))


class Config:
    pass


def make(block):
    if isinstance(block, convert.GatedBlock):
        return exactly(block)
    return convert.mlp_to_gm(block.first, block.second, 4, activation=block.activation, covariance=LowRank(2)).module


def test_a_record_builds_the_model_again():
    model = Configured(Config())
    swapped = convert.swap_layers(model, make)
    content = json.loads(json.dumps(convert.record(swapped)))  # as a file holds it
    config = Config()
    config.gmlayers = content
    again = convert.swapped_class(Configured)(config)
    again.load_state_dict(model.state_dict())
    x = torch.randn(5, 6)
    assert torch.equal(again(x), model(x))
    assert type(again).__name__ == "Configured"


@pytest.mark.parametrize(
    "module",
    [GMNMFeedForward(6, 12, rank=2, drop=0.1), GMLayer(6, 6, 3, covariance="full"), GMFeedForward(6, spread=False)],
)
def test_every_module_has_a_record(module):
    model = Configured(Config())
    swapped = convert.swap_layers(model, lambda _: module, blocks=convert.find_blocks(model)[:1])
    config = Config()
    config.gmlayers = convert.record(swapped)
    again = convert.swapped_class(Configured)(config)
    assert repr(again.body[0]) == repr(module)


def test_a_rebuilt_model_can_be_pickled():
    model = Configured(Config())
    config = Config()
    config.gmlayers = convert.record(convert.swap_layers(model, make))
    again = convert.swapped_class(Configured)(config)
    x = torch.randn(5, 6)
    assert torch.equal(pickle.loads(pickle.dumps(again))(x), again(x))
    assert torch.equal(copy.deepcopy(again)(x), again(x))


def test_a_record_fits_the_model_with_a_head_and_without():
    class Headed(nn.Module):
        base_model_prefix = "base"

        def __init__(self, config):
            super().__init__()
            self.base, self.head = Configured(config), nn.Linear(6, 2)

    class Bare(Configured):
        base_model_prefix = "base"

    config = Config()
    config.gmlayers = convert.record(convert.swap_layers(Configured(Config()), make))
    headed = convert.swapped_class(Headed)(config)
    assert isinstance(headed.base.mlp, GMFeedForward)
    config.gmlayers = {f"base.{path}": entry for path, entry in config.gmlayers.items()}
    assert isinstance(convert.swapped_class(Bare)(config).mlp, GMFeedForward)


def test_records_that_cannot_be():
    model = Configured(Config())
    swapped = convert.swap_layers(model, lambda block: nn.Linear(6, 6))
    with pytest.raises(ValueError, match="there is no record of a Linear, which stands in the place of 'body.0'"):
        convert.record(swapped)
    with pytest.raises(ValueError, match="has no record of swaps, got gmlayers=None; before saving, set"):
        convert.swapped_class(Configured)(Config())


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (
            {"elsewhere": {"module": "GMFeedForward", "in_features": 6}},
            "has a block 'elsewhere', and .* has none there",
        ),
        ({"mlp": {"module": "Linear"}}, "the record of 'mlp' is damaged: unknown module 'Linear'"),
        ({"mlp": {"module": "GMFeedForward"}}, "the record of 'mlp' is damaged: .*in_features"),
        ({"mlp": {"module": "GMFeedForward", "in_features": "a"}}, "the record of 'mlp' is damaged"),
        ({"mlp": 3}, "the record of 'mlp' is damaged"),
        ({"mlp": {"module": "GMFeedForward", "in_features": 6, "out_features": 3}}, "expected a module that gives 6"),
    ],
)
def test_a_damaged_record_is_one_error(content, match):
    config = Config()
    config.gmlayers = content
    with pytest.raises(ValueError, match=match):
        convert.swapped_class(Configured)(config)
