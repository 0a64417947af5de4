import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gmlayers import GMLayer, convert
from gmlayers.functional import Activation, get_activation


class Conv1D(nn.Module):
    """The affine map of GPT-2: weights are (in, out)."""

    def __init__(self, out, inputs):
        super().__init__()
        self.nf = out
        self.weight = nn.Parameter(torch.randn(inputs, out) / 2)
        self.bias = nn.Parameter(torch.randn(out))

    def forward(self, x):
        return torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], self.nf)


class TanhGELU(nn.Module):
    def forward(self, x):
        return F.gelu(x, approximate="tanh")


class GPT2MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.c_fc, self.c_proj = Conv1D(24, 6), Conv1D(6, 24)
        self.act = TanhGELU()
        self.dropout = nn.Dropout(0.1)

    def forward(self, x):
        return self.dropout(self.c_proj(self.act(self.c_fc(x))))


class TimmMlp(nn.Module):
    def __init__(self, drop=0.0, norm=nn.Identity):
        super().__init__()
        self.fc1, self.act, self.drop1 = nn.Linear(6, 24), nn.GELU(), nn.Dropout(drop)
        self.norm, self.fc2, self.drop2 = norm(), nn.Linear(24, 6), nn.Dropout(drop)

    def forward(self, x):
        return self.drop2(self.fc2(self.norm(self.drop1(self.act(self.fc1(x))))))


class BartLayer(nn.Module):
    """Functions instead of modules, and a norm and a residual around the block."""

    def __init__(self, drop=0.0):
        super().__init__()
        self.activation_fn, self.activation_dropout = F.relu, drop
        self.fc1, self.fc2, self.final_layer_norm = nn.Linear(6, 24), nn.Linear(24, 6), nn.LayerNorm(6)

    def forward(self, x):
        h = F.dropout(self.activation_fn(self.fc1(x)), p=self.activation_dropout, training=self.training)
        return self.final_layer_norm(x + self.fc2(h))


class Part(nn.Module):
    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


class BertLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.intermediate = Part(dense=nn.Linear(6, 24), intermediate_act_fn=nn.GELU())
        self.output = Part(dense=nn.Linear(24, 6), LayerNorm=nn.LayerNorm(6))

    def forward(self, x):
        h = self.intermediate.intermediate_act_fn(self.intermediate.dense(x))
        return self.output.LayerNorm(self.output.dense(h) + x)


def sequential():
    return nn.Sequential(
        nn.Linear(6, 24), nn.ReLU(), nn.Identity(), nn.Linear(24, 6), nn.LayerNorm(6), nn.Linear(6, 9), nn.GELU(),
        nn.Linear(9, 12), nn.ReLU(), nn.Linear(12, 6),
    )  # fmt: skip


def encoder(**options):
    options = {"dropout": 0.0, "batch_first": True} | options
    layer = nn.TransformerEncoderLayer(6, 2, dim_feedforward=24, **options)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=not options.get("norm_first"))


MODELS = {
    "sequential": (sequential, ["0", "5"]),
    "nested": (lambda: nn.Sequential(nn.Tanh(), nn.Sequential(nn.Identity(), sequential())), ["1.1.0", "1.1.5"]),
    "gpt2": (lambda: nn.ModuleDict({"mlp": GPT2MLP()})["mlp"], ["c_fc"]),
    "timm": (lambda: nn.Sequential(TimmMlp(), TimmMlp()), ["0.fc1", "1.fc1"]),
    "bart": (lambda: nn.Sequential(BartLayer(), BartLayer()), ["0.fc1", "1.fc1"]),
    "bert": (BertLayer, ["intermediate.dense"]),
    "encoder": (encoder, ["layers.0.linear1", "layers.1.linear1"]),
    "gelu module": (lambda: encoder(activation=nn.GELU()), ["layers.0.linear1", "layers.1.linear1"]),
    "decoder": (
        lambda: nn.TransformerDecoderLayer(6, 2, dim_feedforward=24, dropout=0.0, batch_first=True),
        ["linear1"],
    ),
}
models = pytest.mark.parametrize(("make", "paths"), MODELS.values(), ids=MODELS)


def call(model, x):
    return model(x, x) if isinstance(model, nn.TransformerDecoderLayer) else model(x)


def exact(block):
    """As many components as neurons: the same function."""
    width = block.first.out_features
    return convert.mlp_to_gm(block.first, block.second, width, activation=block.activation).module


def matching(block):
    return GMLayer.matching(block.first, block.second)


def anatomy(model):
    """Every module by name, with what it holds besides modules."""
    plain = ("activation", "activation_fn", "activation_dropout", "activation_relu_or_gelu", "use_nested_tensor")
    return [
        (name, id(module), list(module._modules), {n: module.__dict__[n] for n in plain if n in module.__dict__})
        for name, module in model.named_modules()
    ]


@models
def test_exact_layers_do_not_change_the_model(make, paths):
    model = make().eval()
    x = torch.randn(3, 7, 6)
    before = call(model, x)
    swapped = convert.swap_layers(model, exact)
    assert [block.path for block in swapped.blocks] == paths
    named = dict(model.named_modules())
    assert [named[path] for path in paths] == list(swapped.modules)
    atol = 0.02 if isinstance(model, GPT2MLP) else 1e-5  # the tanh form of GELU
    torch.testing.assert_close(call(model, x), before, rtol=0, atol=atol)
    copy.deepcopy(model)


@models
@pytest.mark.parametrize("training", [True, False])
def test_undo_gives_back_the_very_same_modules(make, paths, training):
    model = make().train(training)
    x = torch.randn(3, 7, 6)
    torch.manual_seed(1)
    before, state, found = call(model, x), copy.deepcopy(model.state_dict()), anatomy(model)
    swapped = convert.swap_layers(model, matching)
    torch.manual_seed(1)
    assert not torch.equal(call(model, x), before)
    assert all(module.training == training for module in model.modules())
    swapped.undo()
    assert anatomy(model) == found
    assert list(model.state_dict()) == list(state)
    torch.testing.assert_close(model.state_dict(), state, rtol=0, atol=0)
    torch.manual_seed(1)
    assert torch.equal(call(model, x), before)
    with pytest.raises(RuntimeError, match="has been undone already"):
        swapped.undo()


@models
def test_other_names_stay(make, paths):
    model = make()
    names = set(model.state_dict())
    gone = {
        f"{path}.{name}"
        for block in convert.find_blocks(model)
        for path, module in model.named_modules()
        if module in (block.slots[0].part, block.slots[2].part)
        for name in ("weight", "bias")
    }
    convert.swap_layers(model, matching)
    left = set(model.state_dict())
    assert gone <= names
    assert names - gone <= left
    assert all(name.startswith(tuple(f"{path}." for path in paths)) for name in left - (names - gone))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
@pytest.mark.parametrize("norm_first", [True, False])
def test_transformer_encoder_in_evaluation_calls_the_layer(norm_first):
    """The fast path reads linear1.weight; with a mask, nn.TransformerEncoder has another one for nested tensors."""
    model = encoder(norm_first=norm_first).eval()
    x = torch.randn(3, 7, 6)
    mask = torch.arange(7) >= torch.tensor([7, 5, 3])[:, None]
    with torch.no_grad():
        before = [model(x), model(x, src_key_padding_mask=mask)]
        one = convert.find_blocks(model)[1:]  # the other layer keeps its fast path
        for blocks in (one, None):
            swapped = convert.swap_layers(model, exact, blocks=blocks)
            torch.testing.assert_close(model(x), before[0], rtol=0, atol=1e-5)
            masked = model(x, src_key_padding_mask=mask)
            torch.testing.assert_close(masked[~mask], before[1][~mask], rtol=0, atol=1e-5)
            swapped.undo()
        torch.testing.assert_close(model(x, src_key_padding_mask=mask), before[1], rtol=0, atol=0)


def test_inputs_of_blocks():
    """They are what the first Linear reads, by hooks of our own; also on torch's fast path."""
    model = nn.Sequential(encoder(), TimmMlp()).eval()
    x = torch.randn(3, 7, 6)
    mask = torch.arange(7) >= torch.tensor([7, 5, 3])[:, None]
    read = []
    handle = model[1].fc1.register_forward_pre_hook(lambda module, args: read.append(args[0]))
    blocks = convert.find_blocks(model)
    found = convert.block_inputs(blocks, lambda: model(x))
    handle.remove()
    assert list(found) == ["0.layers.0.linear1", "0.layers.1.linear1", "1.fc1"]
    assert torch.equal(found["1.fc1"], read[0].reshape(21, 6))
    with torch.no_grad():
        layer = model[0].layers[0]
        torch.testing.assert_close(
            found["0.layers.0.linear1"], layer.norm1(x + layer._sa_block(x, None, None)).reshape(21, 6)
        )
    masked = convert.block_inputs(blocks[:2], lambda: model[0](x, src_key_padding_mask=mask))
    assert masked["0.layers.1.linear1"].shape == (21, 6)
    assert torch.backends.mha.get_fastpath_enabled()
    assert not any(module._forward_pre_hooks for module in model.modules())
    with pytest.raises(ValueError, match="block_inputs: '1.fc1' read nothing"):
        convert.block_inputs(blocks, lambda: model[0](x))
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_fit_on_what_the_blocks_read():
    model = nn.Sequential(TimmMlp(), nn.LayerNorm(6), TimmMlp()).eval()
    x = torch.randn(500, 6)
    blocks = convert.find_blocks(model)
    inputs = convert.block_inputs(blocks, lambda: model(x))
    before = model(x).detach()

    def fit(block):
        return convert.mlp_to_gm(block.first, block.second, 8, activation=block.activation, x=inputs[block.path]).module

    convert.swap_layers(model, fit, blocks=blocks)
    error = (model(x) - before).square().mean() / before.var()
    assert error < 0.05


def test_dropout_between_is_refused_or_removed():
    for model, path, rate in [
        (nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Dropout(0.25), nn.Linear(9, 6)), "0", "0.25"),
        (TimmMlp(0.5), "fc1", "0.5"),
        (BartLayer(0.125), "fc1", "0.125"),
        (nn.TransformerEncoderLayer(6, 2, 24, batch_first=True), "linear1", "0.1"),
    ]:
        found = anatomy(model)
        with pytest.raises(ValueError, match=f"block '{path}' has dropout of {rate} between"):
            convert.swap_layers(model, exact)
        assert anatomy(model) == found
        swapped = convert.swap_layers(model, exact, remove_dropout=True)
        if not isinstance(model, (TimmMlp, nn.TransformerEncoderLayer)):  # these have dropout elsewhere too
            x = torch.randn(3, 6)
            assert torch.equal(model.train()(x), model.eval()(x))
        model.eval()
        swapped.undo()
        assert not any(module.training for module in model.modules())
        model.train()
        assert anatomy(model) == found


def test_what_is_no_block():
    assert convert.find_blocks(nn.Sequential(nn.Linear(6, 9), nn.Linear(9, 6))) == []
    assert convert.find_blocks(nn.Sequential(nn.Linear(6, 9), nn.Identity(), nn.Linear(9, 6))) == []
    assert convert.find_blocks(nn.Sequential(nn.Linear(6, 9), nn.Dropout(0.0), nn.Linear(9, 6))) == []
    assert convert.find_blocks(nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.LayerNorm(9), nn.Linear(9, 6))) == []
    assert convert.find_blocks(nn.Sequential(nn.Linear(6, 9), nn.PReLU(), nn.Linear(9, 6))) == []
    assert convert.find_blocks(nn.Sequential(nn.Linear(6, 9), nn.Softsign(), nn.Linear(9, 6))) == []
    assert convert.find_blocks(TimmMlp(norm=lambda: nn.LayerNorm(24))) == []
    assert convert.find_blocks(Part(fc1=nn.Linear(6, 9), act=nn.GELU(), grn=nn.LayerNorm(9), fc2=nn.Linear(9, 6))) == []

    class Odd(nn.Linear):
        def forward(self, x):
            return -super().forward(x)

    class Backwards(nn.Sequential):
        def forward(self, x):
            for module in reversed(self):
                x = module(x)
            return x

    assert convert.find_blocks(nn.Sequential(Odd(6, 9), nn.ReLU(), nn.Linear(9, 6))) == []
    assert convert.find_blocks(Backwards(nn.Linear(9, 9), nn.ReLU(), nn.Linear(9, 9))) == []


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (nn.ReLU(inplace=True), "relu"),
        (nn.GELU(), "gelu"),
        (nn.GELU("tanh"), "gelu_tanh"),
        (nn.Tanh(), "tanh"),
        (nn.Sigmoid(), "sigmoid"),
        (nn.SiLU(), "silu"),
        (nn.LeakyReLU(), "leaky_relu"),
        (convert.Pointwise(get_activation("sin")), "sin"),
        (convert.Pointwise(get_activation("step")), "step"),
    ],
    ids=str,
)
def test_activations_are_known_by_their_values(module, name):
    (block,) = convert.find_blocks(nn.Sequential(nn.Linear(6, 9), module, nn.Linear(9, 6)))
    assert block.activation is get_activation(name)


def test_patterns_and_activations_of_ones_own():
    """Tanh by quadrature would do; here a parabola, whose expectations are short."""
    parabola = Activation(
        f=lambda z: (z - 1) ** 2, mean=lambda m, var: (m - 1) ** 2 + var, gate=lambda m, var: 2 * (m - 1)
    )
    model = nn.ModuleList([Part(up=nn.Linear(6, 9), f=convert.Pointwise(parabola), down=nn.Linear(9, 6))])
    patterns = (*convert.PATTERNS, convert.Pattern("up", "f", "down"))
    assert convert.find_blocks(model, patterns=patterns) == []
    assert convert.find_blocks(model, activations=[parabola]) == []
    blocks = convert.find_blocks(model, patterns=patterns, activations=[parabola])
    assert [block.path for block in blocks] == ["0.up"]
    assert blocks[0].activation is parabola
    x = torch.randn(5, 6)
    before = model[0].down(model[0].f(model[0].up(x)))
    convert.swap_layers(model, exact, blocks=blocks)
    torch.testing.assert_close(model[0].down(model[0].f(model[0].up(x))), before, rtol=1e-4, atol=1e-4)


def test_nothing_is_swapped_half_way():
    model = nn.Sequential(TimmMlp(), TimmMlp())
    found = anatomy(model)
    made = []

    def second_fails(block):
        made.append(block)
        if len(made) == 2:
            raise ArithmeticError
        return exact(block)

    with pytest.raises(ArithmeticError):
        convert.swap_layers(model, second_fails)
    assert anatomy(model) == found
    with pytest.raises(TypeError, match="expected convert to make a module for '0.fc1', got None"):
        convert.swap_layers(model, lambda block: None)
    with pytest.raises(ValueError, match=r"in place of '0.fc1' expected a module that gives 6 features.*\(1, 24\)"):
        convert.swap_layers(model, lambda block: block.first)
    assert anatomy(model) == found


def test_refusals():
    with pytest.raises(ValueError, match=r"found no block in Linear; looked inside of it for .*fc1 - act - fc2"):
        convert.swap_layers(nn.Linear(3, 4), exact)
    model = TimmMlp()
    blocks = convert.find_blocks(model)
    with pytest.raises(ValueError, match="'fc1' of block 'fc1' is given twice or not in place any more"):
        convert.swap_layers(model, exact, blocks=blocks * 2)
    handle = model.fc2.register_forward_hook(lambda module, args, output: output)
    with pytest.raises(ValueError, match="'fc2' of block 'fc1' has forward hooks"):
        convert.swap_layers(model, exact)
    handle.remove()
    convert.swap_layers(model, exact)
    with pytest.raises(ValueError, match="not in place any more; call find_blocks again"):
        convert.swap_layers(model, exact, blocks=blocks)
    assert convert.find_blocks(model) == []


def test_a_module_at_two_places_is_swapped_once():
    shared = TimmMlp()
    model = nn.Sequential(shared, nn.LayerNorm(6), shared).eval()
    x = torch.randn(3, 6)
    before = model(x)
    swapped = convert.swap_layers(model, exact)
    assert len(swapped.blocks) == 1
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (10, r"convert, for instance lambda block: GMLayer.*, must be a function, got 10"),
        (None, r"convert, .*, must be a function, got None"),
        (GMLayer.matching, r".* function of 1 argument, got GMLayer.matching\(first: .{,60}\.\.\.$"),
        (lambda: nn.Identity(), r"convert, .*, must be a function of 1 argument, got .*<lambda>\(\)"),
    ],
)
def test_what_makes_the_modules_takes_a_block(make, match):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(TypeError, match=match) as refused:
        convert.swap_layers(model, make)
    assert "\n" not in str(refused.value)
    assert isinstance(model[1], nn.ReLU)


@pytest.mark.parametrize("model", [None, "mlp", [nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)]])
def test_blocks_are_looked_for_in_a_module(model):
    with pytest.raises(TypeError, match="model must be an nn.Module, got "):
        convert.swap_layers(model, lambda block: block.first)
