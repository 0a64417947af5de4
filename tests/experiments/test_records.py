import re

import pytest
import torch

from gmlayers.experiments import records


def test_tensors_and_metadata_come_back(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {"x": torch.randn(3, 2).T, "n": torch.tensor(5, dtype=torch.uint8)}
    records.write_tensors(path, tensors, {"lr": 0.1 + 0.2, "steps": [1, 2]})
    back, metadata = records.read_tensors(path)
    assert all(torch.equal(back[k], tensors[k]) for k in tensors)
    assert metadata == {"lr": 0.1 + 0.2, "steps": [1, 2]}


@pytest.mark.parametrize("content", [b"", b"nonsense" * 10], ids=["empty", "nonsense"])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a.safetensors is not a whole checkpoint"):
        records.read_tensors(path)


def test_metrics_can_be_cut_but_not_lengthened(tmp_path):
    metrics = records.Metrics(tmp_path / "m.jsonl")
    assert metrics.rows() == []
    assert metrics.written()[0] == 0
    metrics.append({"a": 1})
    size, checksum = metrics.written()
    metrics.append({"a": 2})
    assert metrics.written()[1] != checksum
    metrics.cut(size, checksum)
    assert metrics.rows() == [{"a": 1}]
    with pytest.raises(ValueError, match="is shorter than its checkpoint says"):
        metrics.cut(size + 1)


@pytest.mark.parametrize(("text", "message"), [("{", "is not valid JSON"), ("[1]", "expected a JSON object, got list")])
def test_damaged_json_is_refused(tmp_path, text, message):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        records.read_json(path)


def test_environment_names_versions_and_machine():
    found = records.environment()
    assert found["torch"] == torch.__version__
    assert found["processor"]
    assert found["threads"] >= 1


@pytest.mark.parametrize(
    ("preload", "words"), [("", "torch"), ("/usr/lib/libjemalloc.so.2 /b/c.so", "libjemalloc.so.2, c.so")]
)
def test_environment_names_libraries_that_are_loaded_before(monkeypatch, preload, words):
    monkeypatch.setenv("LD_PRELOAD", preload)
    said = records.environment_in_words(records.environment())
    assert words in said
    assert ("loaded before" in said) == bool(preload)


def test_environment_names_the_commit_of_a_checkout_and_none_of_a_copy(tmp_path, monkeypatch):
    found = records.environment()["commit"]
    assert found is None or re.fullmatch(r"[0-9a-f]{12}(-dirty)?", found)
    package = tmp_path / "site-packages" / "gmlayers"
    package.mkdir(parents=True)
    monkeypatch.setattr(records.gmlayers, "__file__", str(package / "__init__.py"))
    assert records.environment()["commit"] is None
