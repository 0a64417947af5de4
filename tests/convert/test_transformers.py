"""Models of transformers, built from configurations: what is swapped, and how it is saved and loaded."""

import pytest
import torch

from gmlayers import GMFeedForward, convert

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SIZES = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
HEADS = SIZES | {"num_key_value_heads": 2, "max_position_embeddings": 64}
T5 = {"vocab_size": 50, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
MODELS = {
    "Llama": ("LlamaForCausalLM", HEADS, "silu"),
    "Mistral": ("MistralForCausalLM", HEADS, "silu"),
    "Qwen2": ("Qwen2ForCausalLM", HEADS, "silu"),
    "Gemma": ("GemmaForCausalLM", HEADS | {"head_dim": 8}, "gelu_tanh"),
    "T5": ("T5ForConditionalGeneration", T5 | {"feed_forward_proj": "gated-gelu"}, "gelu_tanh"),
}


def make(name):
    kind, sizes, _ = MODELS[name]
    return getattr(transformers, kind)(getattr(transformers, f"{name}Config")(**sizes)).eval()


def logits(model):
    ids = torch.arange(14).reshape(2, 7)
    more = {"decoder_input_ids": ids} if "T5" in type(model).__name__ else {}
    with torch.no_grad():
        return model(input_ids=ids, **more).logits


def exactly(block):
    return convert.glu_to_gm(block.gate, block.up, block.down, block.activation, drop=block.dropout)


@pytest.mark.parametrize("name", MODELS)
def test_a_converted_model_is_the_same_function(name):
    model = make(name)
    exact = logits(model)
    blocks = convert.find_blocks(model)
    assert len(blocks) == (4 if name == "T5" else 2)
    assert {block.activation.name for block in blocks} == {MODELS[name][2]}
    swapped = convert.swap_layers(model, exactly)
    assert (logits(model) - exact).abs().max() <= 1e-5 * exact.abs().max()
    swapped.undo()
    assert torch.equal(logits(model), exact)


@pytest.mark.parametrize("name", ["Llama", "T5"])
def test_save_pretrained_and_from_pretrained(name, tmp_path):
    model = make(name)
    model.config.gmlayers = convert.record(convert.swap_layers(model, exactly))
    model.save_pretrained(tmp_path)
    again = convert.swapped_class(type(model)).from_pretrained(tmp_path)
    assert torch.equal(logits(again.eval()), logits(model))
    low = convert.swapped_class(type(model)).from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    assert {p.dtype for p in low.parameters()} == {torch.bfloat16}
    assert (logits(low) - logits(model)).norm() <= 0.05 * logits(model).norm()


def test_blocks_of_bert_become_fresh_ones_and_train():
    config = transformers.BertConfig(**SIZES, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model = transformers.BertModel(config)

    def fresh(block):
        return GMFeedForward(block.in_features, block.first.out_features, block.out_features)

    before = sum(p.numel() for p in model.parameters())
    swapped = convert.swap_layers(model, fresh)
    assert len(swapped.blocks) == 2
    assert abs(sum(p.numel() for p in model.parameters()) - before) <= 2 * 3 * 32
    model(input_ids=torch.arange(14).reshape(2, 7)).last_hidden_state.square().sum().backward()
    assert all(p.grad is not None for p in model.encoder.parameters())
