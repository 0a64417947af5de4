import io
import math
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from gmlayers.experiments.records import readable
from gmlayers_studies import papers
from gmlayers_studies.command import archive, plot, reproduce
from gmlayers_studies.hosts import images as source
from gmlayers_studies.hosts.image_blocks import (
    CENTRES,
    PATCH_BLOCKS,
    PIXEL_BLOCKS,
    Bumps,
    FastKANLayer,
    QuadraticForms,
    sized,
)
from gmlayers_studies.hosts.images import BINS, KINDS, ImageHost, calibration, error
from gmlayers_studies.hosts.run import size


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_of_a_host_are_of_one_size(kind):
    host = ImageHost.of(f"{kind} on digits")
    sizes = {name: size(host.begin(name, 0, choosing=False).places) for name in host.blocks}
    assert all(abs(found - sizes["GELU"]) <= 0.01 * sizes["GELU"] for found in sizes.values()), sizes


@pytest.mark.parametrize("name", PIXEL_BLOCKS)
def test_blocks_of_pixels_see_one_pixel(name):
    block = PIXEL_BLOCKS[name](24)
    for p in block.parameters():
        nn.init.normal_(p, std=0.1)
    x = torch.randn(2, 5, 24)
    one = block(x)
    assert one.shape == x.shape
    x[0, 0] += 1
    changed = (block(x) != one).any(-1)
    assert changed[0, 0]
    assert changed.sum() == 1


@pytest.mark.parametrize("name", PATCH_BLOCKS)
def test_blocks_of_patches_see_three_pixels_by_three(name):
    block = PATCH_BLOCKS[name](8).double()
    x = torch.randn(1, 8, 7, 9, dtype=torch.float64)
    one = block(x)
    assert one.shape == x.shape
    x[0, :, 3, 4] += 1
    changed = ((block(x) - one).abs() > 1e-9).any(1)[0]
    assert changed[2:5, 3:6].all()
    assert changed.sum() == 9


@torch.no_grad()
def test_a_layer_of_fast_kan_is_that_of_a_loop():
    layer, x = FastKANLayer(3, 2).double(), torch.randn(4, 3, dtype=torch.float64)
    h, wanted = 4 / 7, torch.zeros(4, 2, dtype=torch.float64)
    normed = F.layer_norm(x, (3,))
    for n in range(4):
        for o in range(2):
            wanted[n, o] = layer.base.bias[o]
            for i in range(3):
                value = float(x[n, i])
                wanted[n, o] += layer.base.weight[o, i] * value / (1 + math.exp(-value))
                for c in range(CENTRES):
                    bump = math.exp(-(((float(normed[n, i]) - (-2 + c * h)) / h) ** 2))
                    wanted[n, o] += layer.spline.weight[o, i * CENTRES + c] * bump
    torch.testing.assert_close(layer(x), wanted, atol=1e-6, rtol=1e-6)  # centres are kept in float32
    assert Bumps()(torch.zeros(2, 3)).shape == (2, 24)


@torch.no_grad()
def test_bumps_of_quadratic_forms_are_those_of_a_loop():
    block = QuadraticForms(3, 4, rank=2).double()
    nn.init.normal_(block.out.weight)
    x = torch.randn(5, 3, dtype=torch.float64)
    wanted = torch.zeros(5, 3, dtype=torch.float64)
    for n in range(5):
        for k in range(4):
            y = 0.0
            for j in (2 * k, 2 * k + 1):
                one = float(block.one[j] @ x[n] - block.offsets[0, j])
                y += one * float(block.other[j] @ x[n] - block.offsets[1, j])
            wanted[n] += block.out.weight[:, k] * math.exp(-(y**2) / 2)
    torch.testing.assert_close(block(x), wanted)


def test_the_size_that_is_asked_for_is_met_without_a_draw():
    torch.manual_seed(0)
    module = sized(lambda hidden: nn.Linear(10, hidden), 330)
    assert module.out_features == 30
    torch.manual_seed(0)
    torch.testing.assert_close(module.weight, nn.Linear(10, 30).weight)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("choosing", [False, True])
def test_hosts_learn_what_may_be_learned(kind, choosing):
    host = ImageHost.of(f"{kind} on digits")
    torch.manual_seed(0)
    learner = host.begin("GELU", 0, choosing=choosing)
    assert all(isinstance(place, nn.Sequential) for place in learner.places)
    assert len(learner.places) >= 2
    optimizer = torch.optim.AdamW(learner.model.parameters(), 3e-3)
    before = learner.judge()
    for _ in range(60):
        optimizer.zero_grad()
        learner.loss().backward()
        optimizer.step()
    after = learner.judge()
    assert before["error"] > 0.5 > 0.35 > after["error"]
    assert set(after) == {"error", "train_error", "calibration"}


def test_few_rows_are_seen_and_all_of_them_in_an_epoch(monkeypatch):
    host = ImageHost.of("CNN on 300 of digits")
    assert (host.kind, host.data, host.rows) == ("CNN", "digits", 300)
    learner = host.begin("ReLU", 3, choosing=False)
    sizes = []
    monkeypatch.setattr(F, "cross_entropy", lambda logits, y: sizes.append(len(y)))
    for _ in range(6):
        learner.loss()
    assert sorted(sizes[:3]) == sorted(sizes[3:]) == [44, 128, 128]


def test_errors_and_calibration_are_those_of_a_loop():
    logits, y = 3 * torch.randn(500, 4), torch.randint(4, (500,))
    p = logits.double().softmax(1)
    assert error(logits, y) == pytest.approx(sum(int(p[i].argmax() != y[i]) for i in range(500)) / 500)
    wanted = 0.0
    for b in range(BINS):
        inside = [i for i in range(500) if b / BINS <= float(p[i].max()) < (b + 1) / BINS]
        if inside:
            right = sum(int(p[i].argmax() == y[i]) for i in inside) / len(inside)
            wanted += len(inside) / 500 * abs(right - sum(float(p[i].max()) for i in inside) / len(inside))
    assert calibration(logits, y) == pytest.approx(wanted)
    sure = torch.eye(3)[[0, 1, 2]] * 100
    assert calibration(sure, torch.tensor([0, 1, 2])) == pytest.approx(0, abs=1e-9)
    assert calibration(sure, torch.tensor([1, 2, 0])) == pytest.approx(1)


def picture(shade):
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), shade, np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize("packed", [False, True])
def test_the_jpeg_copy_is_read_once_from_folders_or_an_archive(tmp_path, monkeypatch, packed):
    monkeypatch.setenv("GMLAYERS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("GMLAYERS_CACHE", str(tmp_path / "cache"))
    source.images.cache_clear()
    root = tmp_path / "data" / source.JPEG
    root.mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="has no train/CLASS/"):
        source.images(source.JPEG)
    files = {
        f"{part}/{label}/{i:04}.jpg": picture(shade + i)
        for part, count in (("train", 20), ("test", 5))
        for label, shade in (("cat", 10), ("dog", 200))
        for i in range(count)
    }
    if packed:
        with tarfile.open(root / source.ARCHIVE, "w:xz") as made:
            for name, content in files.items():
                info = tarfile.TarInfo(f"CIFAR-10-images/{name}")
                info.size = len(content)
                made.addfile(info, io.BytesIO(content))
    else:
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
    data = source.images(source.JPEG)
    assert data.classes == ("cat", "dog")
    assert (len(data.train_x), len(data.test_x)) == (40, 10)
    assert data.shape == (3, 8, 8)
    assert ((data.train_x.mean((1, 2, 3)) > 0.5) == (data.train_y == 1)).all()
    for path in (root / source.ARCHIVE, *root.glob("t*/*/*")):
        path.unlink(missing_ok=True)
    source.images.cache_clear()
    again = source.images(source.JPEG)
    torch.testing.assert_close(again.train_x, data.train_x)
    source.images.cache_clear()


def test_numbers_and_tables_are_refused(tmp_path):
    np.savez(tmp_path / "table.npz", x=np.random.default_rng(0).random((50, 3)), y=np.arange(50) % 2)
    with pytest.raises(ValueError, match="expected images with classes, got inputs of shape \\(3,\\) and classes"):
        source.images(str(tmp_path / "table.npz"))


def test_smoke(tmp_path, capsys):
    out = tmp_path / "out"
    reproduce("classification", profile="smoke", out=out, jobs=2)
    text = capsys.readouterr().out
    assert "CNN on digits, is the best of ours better than the best of the others: " in text
    assert "ResNet on digits, is a GM block better than SwiGLU: " in text
    page = (out / "classification.md").read_text()
    runs = papers.study("classification").runs("smoke")
    assert f"ran {3 * len(runs)} of {3 * len(runs)} runs in 0.0 hours of one core" in page
    assert "MB kept" in page
    for run in runs.values():
        tried = [readable(out / run.place / f"setting-{i}" / "metrics.jsonl")[-1]["error"] for i in range(4)]
        rows = readable(out / run.place / "seed-0" / "metrics.jsonl")
        assert rows[-1]["setting"] == int(np.argmin(tried))
    (tmp_path / "archive").mkdir()
    archive(out, tmp_path / "archive" / "classification.zip")
    plot("classification", records=tmp_path / "archive")
    assert (tmp_path / "archive" / "classification.md").read_text() == page


def test_a_set_of_ones_own_takes_the_place_of_the_others(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (200, 3, 32, 32), np.uint8), np.array([f"class {i % 100:02}" for i in range(200)])
    np.savez(tmp_path / "cifar100.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    study = papers.study("classification")
    runs = study.runs("quick", str(tmp_path / "cifar100.npz"))
    assert {run.host.kind for run in runs.values()} == set(KINDS)
    run = next(run for run in runs.values() if run.host.kind == "ViT")
    learner = run.host.begin(run.label, 0, choosing=False)
    assert learner.model[-1].out_features == 100
    assert learner.loss().isfinite()
    assert study.read(run.place, run.config()) == run
