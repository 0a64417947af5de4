import dataclasses
import json
import math

import pytest
import safetensors.torch
import torch

from gmlayers import GMLayer
from gmlayers.experiments.models import MODELS, Recipe, Shape
from gmlayers.experiments.records import Metrics, read_tensors, write_tensors
from gmlayers.experiments.schema import Unchecked
from gmlayers.experiments.trainer import OPTIMIZERS, Diverged, Task, Trainer, Trial, read_model

SMALL = Shape(width=8)


def trial(model="low_rank", shape=SMALL, seed=3, validate=False, **changes):
    changes = {"epochs": 4, "batch_size": 16, **changes}
    return Trial(model, shape, dataclasses.replace(MODELS[model].recipe, **changes), seed, validate)


def timeless(rows):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def as_an_older_version(path):
    """Write a checkpoint as it was written before it had a checksum, and said what it belongs to."""
    tensors, metadata = read_tensors(path)
    rest = {name: value for name, value in metadata.items() if name not in ("trial", "metrics")}
    path.write_bytes(safetensors.torch.save(tensors, {"gmlayers": json.dumps(rest)}))


def without_its_trial(path, **changes):
    """Write a checkpoint anew that does not say what it belongs to, and with changes."""
    tensors, metadata = read_tensors(path)
    write_tensors(path, tensors, {**metadata, "trial": None, "metrics": None, **changes})


def weights(trainer):
    return {name: p.clone() for name, p in trainer.model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


CHANGES = [
    {},
    {"optimizer": "adamw", "schedule": "cosine", "weight_decay": 0.1},
    {"optimizer": "sgd", "schedule": "constant", "lr": 0.1, "std_lr": 1.0},
    {"optimizer": "sgd", "schedule": "one-cycle", "lr": 0.1},
    {"optimizer": "wasserstein-sgd", "schedule": "constant", "lr": 0.01, "std_lr": 0.01},
    {"optimizer": "wasserstein-adam", "schedule": "one-cycle", "lr": 0.01, "std_lr": 0.01},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_an_interrupted_run_continues_to_the_same_bits(images, tmp_path, changes):
    whole = Trainer(trial(**changes), images, tmp_path / "whole")
    rows = list(whole.run())
    run = Trainer(trial(**changes), images, tmp_path / "parts").run()
    next(run), next(run)
    torch.manual_seed(999)  # whatever else happens in the process
    parts = Trainer(trial(**changes), images, tmp_path / "parts")
    assert parts.epoch == 2
    list(parts.run())
    assert same(weights(whole), weights(parts))
    assert parts.metrics is not None
    assert timeless(parts.metrics.rows()) == timeless(rows)


def test_a_line_of_metrics_without_its_checkpoint_is_dropped(images, tmp_path):
    """Killed between the two writes of an epoch."""
    first = Trainer(trial(), images, tmp_path)
    run = first.run()
    next(run)
    kept = (tmp_path / "metrics.jsonl").read_bytes()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "step": 8, "train_l')
    Trainer(trial(), images, tmp_path)
    assert (tmp_path / "metrics.jsonl").read_bytes() == kept


def test_killed_before_the_first_checkpoint(images, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n')
    trainer = Trainer(trial(), images, tmp_path)
    assert trainer.epoch == 0
    assert len(list(trainer.run())) == 4


def test_a_finished_run_trains_no_more(images, tmp_path):
    list(Trainer(trial(), images, tmp_path).run())
    assert list(Trainer(trial(), images, tmp_path).run()) == []


def test_seeds_differ_and_repeat(images):
    a, b, c = (Trainer(trial(seed=s), images) for s in (0, 0, 1))
    for t in (a, b, c):
        list(t.run())
    assert same(weights(a), weights(b))
    assert not same(weights(a), weights(c))


def test_the_global_generator_is_left_as_it_was(images):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(Trainer(trial(), images).run())
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_model_learns(images, model):
    shape = Shape(components=4) if model == "paper" else SMALL
    rate = {"paper": 0.5, "fc_mean": 5.0}.get(model, 0.02)
    *_, last = Trainer(trial(model, shape, epochs=40, input_dropout=0.0, lr=rate, std_lr=rate), images).run()
    assert last["test_error"] <= 0.05


def test_regression_reports_its_error_in_units_of_the_target(numbers):
    *_, last = Trainer(trial("fc", epochs=150, lr=0.02, input_dropout=0.0), numbers).run()
    spread = numbers.test_y.std().item()
    assert last["test_rmse"] < 0.15 * spread
    first = next(Trainer(trial("fc", lr=0.0, std_lr=0.0), numbers).run())
    assert first["test_rmse"] > 0.5 * spread


def test_choosing_never_reads_the_test_rows(images):
    spoilt = dataclasses.replace(images, test_x=images.test_x * math.nan, test_y=images.test_y * 0 + 77)
    clean, other = (Trainer(trial(validate=True), data) for data in (images, spoilt))
    a, b = timeless(clean.run()), timeless(other.run())
    assert a == b
    assert "validation_error" in a[0]
    assert "test_error" not in a[0]


def test_choosing_does_not_train_on_the_validation_rows(images):
    cut = len(images.train_x) - images.validation
    spoilt = images.train_x.clone()
    spoilt[cut:] = 1e6
    a, b = (Trainer(trial(validate=True), dataclasses.replace(images, train_x=x)) for x in (images.train_x, spoilt))
    list(a.run()), list(b.run())
    assert same(weights(a), weights(b))


def test_inputs_are_standardised_by_the_training_rows(images):
    trainer = Trainer(trial(), images)
    x = trainer.model.get_submodule("inputs")(images.train_x.flatten(1))
    assert x.mean().item() == pytest.approx(0, abs=1e-5)
    assert x.std(correction=0).item() == pytest.approx(1, rel=1e-5)


def test_tables_are_standardised_by_column_and_constants_survive(numbers):
    x = numbers.train_x.clone()
    x[:, 1] = 3.0
    trainer = Trainer(trial(), dataclasses.replace(numbers, train_x=x))
    z = trainer.model.get_submodule("inputs")(x)
    torch.testing.assert_close(z.std(0, correction=0), torch.tensor([1.0, 0.0, 1.0]), rtol=1e-3, atol=1e-3)
    assert z.isfinite().all()


def test_the_papers_rates_reach_the_optimizer(images):
    trainer = Trainer(trial("paper", Shape(components=2)), images)
    layer = trainer.model.get_submodule("net")
    assert isinstance(layer, GMLayer)
    rates = {id(p): g["lr"] for g in trainer.optimizer.param_groups for p in g["params"]}
    assert rates[id(layer.std)] == 1.0
    assert rates[id(layer.mean)] == 0.1


@pytest.mark.parametrize("options", [{"std_lr": 0.2}, {"std_lr": 0.1, "weight_decay": 0.1}])
def test_flows_have_one_rate_and_no_decay(images, options):
    with pytest.raises(
        ValueError, match="wasserstein-sgd follows a flow: stds have the rate of the rest and nothing dec"
    ):
        Trainer(trial(optimizer="wasserstein-sgd", lr=0.1, **options), images)


def test_divergence_names_step_and_parameter_and_keeps_the_checkpoint(images, tmp_path):
    options = {"optimizer": "sgd", "schedule": "constant", "std_lr": 0.0}
    next(Trainer(trial(lr=1e-3, **options), images, tmp_path).run())
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    trainer = Trainer(trial(lr=1e-3, **options), images, tmp_path)
    for group in trainer.optimizer.param_groups:
        group["lr"] = 1e30
    trainer.scheduler.base_lrs = [1e30 for _ in trainer.scheduler.base_lrs]
    with pytest.raises(Diverged, match=r"stopped at step \d+: the loss is (nan|inf); the first parameter") as caught:
        list(trainer.run())
    assert "the checkpoint of epoch 1 is kept" in str(caught.value)
    assert "try a smaller --lr" in str(caught.value)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


def test_a_last_step_that_spoils_the_weights_is_not_saved(images, tmp_path):
    """One step an epoch: the loss before it is fine, the parameters after it are not."""
    options = {"optimizer": "sgd", "schedule": "constant", "batch_size": 60, "lr": 3e38, "std_lr": 3e38}
    trainer = Trainer(trial("paper", Shape(components=4, init_scale=5.0), **options), images, tmp_path)
    with pytest.raises(Diverged, match="stopped at step 1: the loss is .*; the first parameter that is not finite is"):
        list(trainer.run())
    assert not list(tmp_path.iterdir())


def test_the_recorded_rate_is_that_of_the_last_step(images):
    *_, last = Trainer(trial(epochs=2), images).run()
    assert last["lr"] < 1e-4 * 5e-3  # one-cycle ends at 4e-6 of its peak


def test_equal_targets_are_refused(numbers):
    with pytest.raises(ValueError, match=r"all training targets are 2\.5; there is nothing to learn"):
        Trainer(trial(), dataclasses.replace(numbers, train_y=torch.full((60, 1), 2.5)))


def test_nan_in_a_parameter_is_named(images):
    trainer = Trainer(trial(), images)
    layer = trainer.model.get_submodule("net")
    assert isinstance(layer, GMLayer)
    with torch.no_grad():
        layer.std[0] = math.nan
    with pytest.raises(Diverged, match="step 1: the loss is nan; the first parameter that is not finite is 'net.std'"):
        list(trainer.run())


def test_a_truncated_checkpoint_is_refused(images, tmp_path):
    list(Trainer(trial(epochs=1), images, tmp_path).run())
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a whole checkpoint of gmlayers .* delete it to train that seed afresh"):
        Trainer(trial(), images, tmp_path)


@pytest.mark.parametrize("other", [trial("low_rank", Shape(width=16)), trial("fc"), trial("diagonal")], ids=str)
def test_a_checkpoint_of_another_model_is_refused(images, tmp_path, other):
    list(Trainer(trial(epochs=1), images, tmp_path).run())
    with pytest.raises(ValueError, match=r"belongs to another trial, with .* where the configuration says "):
        Trainer(other, images, tmp_path)
    without_its_trial(tmp_path / "checkpoint.safetensors")
    with pytest.raises(ValueError, match=r"holds another model: for '.*' expected .*, got .*; give the run folder"):
        Trainer(other, images, tmp_path)


def test_a_checkpoint_of_another_seed_is_refused(images, tmp_path):
    list(Trainer(trial(), images, tmp_path).run())
    with pytest.raises(ValueError, match=r"with seed 3 where the configuration says 4; restore the configuration"):
        read_model(trial(seed=4), Task.of(images), tmp_path)


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_a_run_of_an_older_version_continues_to_the_same_bits(images, tmp_path, changes):
    """It has no checksums and does not say what it belongs to, and that is said."""
    whole = Trainer(trial(**changes), images, tmp_path / "whole")
    list(whole.run())
    next(Trainer(trial(**changes), images, tmp_path / "parts").run())
    as_an_older_version(tmp_path / "parts" / "checkpoint.safetensors")
    with pytest.warns(Unchecked, match=r"checkpoint.safetensors has no checksum"):
        parts = Trainer(trial(**changes), images, tmp_path / "parts")
    list(parts.run())
    assert parts.epoch == 4
    assert same(weights(whole), weights(parts))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_checkpoint_is_taken_up_again(images, tmp_path, model, optimizer):
    """What is checked must hold for all of them; batches are of two sizes, and some parameters are frozen."""
    rates = {"lr": 1e-3, "std_lr": 1e-3, "weight_decay": 0.0}
    frozen = () if model.startswith("fc") else ("mean",)
    wanted = trial(model, Shape(), optimizer=optimizer, epochs=3, batch_size=35, frozen=frozen, **rates)
    next(Trainer(wanted, images, tmp_path).run())
    assert Trainer(wanted, images, tmp_path).epoch == 1


DAMAGE = [
    ({"epoch": 10**9}, r"epoch must be in \[1, 4\], the epochs of the run, got 1000000000"),
    ({"epoch": 0}, "epoch must be a whole number of at least 1, got 0"),
    ({"epoch": 3}, "does not have a line for each of the 3 epochs|scheduler.last_epoch must be 12, got 8"),
    ({"epoch": "2"}, 'epoch must be a whole number, got "2"'),
    ({"metrics_size": 0}, "does not have a line for each of the 2 epochs"),
    ({"metrics_size": 3}, "metrics.jsonl, line 1: not a record"),
    ({"scheduler": []}, r"scheduler must be an object, got \[\]"),
    ({"scheduler": {}}, "scheduler.last_epoch is missing"),
    ({"scheduler": {"last_epoch": 0}}, "scheduler.last_epoch must be 8, got 0"),
    ({"scheduler": {"last_epoch": 8, "total_steps": 9}}, "scheduler.total_steps must be 16, got 9"),
    ({"param_groups": []}, "param_groups must be 3 groups, got 0"),
    ({"param_groups": [[], [], []]}, r"param_groups\[0\] must be an object, got \[\]"),
    ({"param_groups": [{}, {}, {}]}, r"param_groups\[0\]: lr is missing"),
]


@pytest.mark.parametrize(("change", "message"), DAMAGE, ids=str)
def test_damage_is_found_without_a_checksum(images, tmp_path, change, message):
    run = Trainer(trial(), images, tmp_path).run()
    next(run), next(run)
    path = tmp_path / "checkpoint.safetensors"
    without_its_trial(path, **change)
    with pytest.raises(ValueError, match=message):
        Trainer(trial(), images, tmp_path)


def _to_int(tensors):
    tensors["model.net.mean"] = tensors["model.net.mean"].view(torch.int32)


def _to_nan(tensors):
    tensors["model.net.mean"][0, 1] = math.nan


def _to_inf(tensors):
    tensors["model.net.mean"][:] = -math.inf


def _without_a_state(tensors):
    del tensors["optimizer.0.exp_avg"]


def _with_a_state(tensors):
    tensors["optimizer.x"] = torch.zeros(1)


def _without_random(tensors):
    del tensors["random.cpu"]


def _short_random(tensors):
    tensors["random.cpu"] = tensors["random.cpu"][:-1].clone()


def _no_random(tensors):
    tensors["random.cpu"][:] = 255


def _nan_in_the_state(tensors):
    tensors["optimizer.0.exp_avg"][:] = math.nan


@pytest.mark.parametrize(
    ("change", "message", "evaluates"),
    [
        (_to_int, r"'net.mean' expected \(.*\), got \(.*\) of int32", False),
        (_to_nan, "of the .* numbers of 'net.mean', 1 are not finite", False),
        (_to_inf, "are not finite, and what such a model computes is worth nothing", False),
        (_without_a_state, r"for '0.exp_avg' expected \(.*\), got nothing", True),
        (_with_a_state, r"for 'x' expected nothing, got \(1,\)", True),
        (_without_random, "for 'cpu' expected .* of uint8, got nothing", True),
        (_short_random, r"for 'cpu' expected \(\d+,\) of uint8, got \(\d+,\) of uint8", True),
        (_no_random, "the state of random numbers is none", True),
        (_nan_in_the_state, "the state '0.exp_avg' of the optimizer is not a number in places", True),
    ],
)
def test_tensors_that_do_not_fit(images, tmp_path, change, message, evaluates):
    run = Trainer(trial(), images, tmp_path).run()
    next(run), next(run)
    path = tmp_path / "checkpoint.safetensors"
    tensors, metadata = read_tensors(path)
    change(tensors)
    write_tensors(path, tensors, metadata)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=message):
        Trainer(trial(), images, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError, match=message) if not evaluates else pytest.warns(UserWarning, match="not finished"):
        read_model(trial(), Task.of(images), tmp_path)


def test_records_that_were_changed_are_not_continued(images, tmp_path):
    run = Trainer(trial(), images, tmp_path).run()
    next(run), next(run)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    with pytest.raises(ValueError, match=r"metrics.jsonl was changed since its checkpoint was written; restore it, or"):
        Trainer(trial(), images, tmp_path)


def test_records_that_were_lost_keep_their_names(images, tmp_path):
    """The next number is one more than the highest, not the number of files."""
    for number in (2, 7):
        (tmp_path / f"metrics.lost-{number}.jsonl").write_text("kept\n")
    (tmp_path / "metrics.lost-x.jsonl").write_text("kept\n")
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n')
    with pytest.warns(UserWarning, match=r"see metrics.lost-8.jsonl"):
        Trainer(trial(), images, tmp_path)
    for name in ("2", "7", "x"):
        assert (tmp_path / f"metrics.lost-{name}.jsonl").read_text() == "kept\n"


def test_read_model_needs_no_data(images, tmp_path):
    trainer = Trainer(trial(), images, tmp_path)
    list(trainer.run())
    model = read_model(trial(), Task.of(images), tmp_path)
    trainer.model.eval()
    assert torch.equal(model(images.test_x), trainer.model(images.test_x))
    with pytest.raises(FileNotFoundError, match="train this seed first"):
        read_model(trial(), Task.of(images), tmp_path / "nowhere")


def test_a_recipe_fits_itself_to_the_data():
    recipe = Recipe(epochs=30, batch_size=100, fewest_steps=5000, input_dropout=0.3)
    assert recipe.fitted(60_000, images=True) == recipe
    assert recipe.fitted(1_001, images=True).epochs == 455  # 5000 steps of 11 an epoch
    assert recipe.fitted(60_000, images=False).input_dropout == 0.0
    assert MODELS["paper"].recipe.fitted(100, images=True).epochs == 200


def test_label_smoothing_of_numbers_is_refused(numbers):
    with pytest.raises(ValueError, match="label_smoothing is for classes"):
        Trainer(trial(label_smoothing=0.1), numbers)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "lowrank"}, "unknown model 'lowrank'; did you mean 'low_rank'"),
        ({"recipe": Recipe(optimizer="adm")}, "unknown optimizer 'adm'; did you mean 'adam'"),
        ({"recipe": Recipe(schedule="cosin")}, "unknown schedule 'cosin'; did you mean 'cosine'"),
        ({"recipe": Recipe(epochs=0)}, "epochs must be at least 1, got 0"),
        ({"recipe": Recipe(batch_size=-1)}, "batch_size must be at least 1, got -1"),
        ({"recipe": Recipe(lr=math.nan)}, "lr must be finite and not negative, got nan"),
        ({"recipe": Recipe(input_dropout=1.0)}, r"input_dropout must lie in \[0, 1\), got 1.0"),
        ({"model": "fc", "shape": Shape(rank=2)}, "rank has no effect on fc, which takes activation, trunk, width"),
        ({"recipe": Recipe(lr=1e39)}, "lr must be finite and not negative, got 1e\\+39"),
        ({"seed": -1}, "a seed must lie in"),
        ({"seed": 2**63}, "a seed must lie in"),
        ({"shape": Shape(width=3, components=3)}, "width and components both set the size"),
    ],
)
def test_bad_trials(arguments, message):
    with pytest.raises(ValueError, match=message):
        Trial(**{"model": "low_rank", **arguments})


@pytest.mark.parametrize(
    ("device", "message"),
    [("cuba", "unknown device 'cuba'"), ("meta", "device 'meta' is not available here"), ("cuda:99", "not available")],
)
def test_bad_devices(images, device, message):
    with pytest.raises(ValueError, match=message):
        Trainer(dataclasses.replace(trial(), device=device), images)


@pytest.mark.parametrize("changes", [{}, {"input_dropout": 0.2}])
def test_compiled_steps_are_the_same_up_to_rounding(images, changes):
    recipe = dataclasses.replace(MODELS["low_rank"].recipe, epochs=2, batch_size=16, **changes)
    plain, compiled = (
        Trainer(Trial("low_rank", Shape(width=8), recipe), images, compiled=compiled) for compiled in (False, True)
    )
    for row, other in zip(plain.run(), compiled.run(), strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
    torch.testing.assert_close(plain.model.state_dict(), compiled.model.state_dict(), rtol=1e-3, atol=1e-5)


def test_compiling_without_a_compiler_is_refused(images, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler, and none was found"):
        Trainer(Trial("low_rank"), images, compiled=True)


def test_frozen_parameters_stay_as_they_were_drawn(images):
    changes = {"epochs": 1, "frozen": ("mean", "std")}
    trainer = Trainer(trial("paper", Shape(components=3), **changes), images)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    for _ in trainer.run():
        pass
    moved = {n for n, value in trainer.model.state_dict().items() if not torch.equal(value, before[n])}
    assert moved == {"net.slope", "net.intercept"}
    with pytest.raises(ValueError, match="unknown parameter of GM layers 'meen'; did you mean 'mean'"):
        Trainer(trial("paper", Shape(components=3), frozen=("meen",)), images)


def test_what_watches_joins_the_records_and_is_asked_before_they_are_saved(images, tmp_path):
    def watch(trainer):
        assert not (tmp_path / "checkpoint.safetensors").exists() or trainer.epoch > 1
        return {"epochs_seen": trainer.epoch, "norm": trainer.model[-1][0].weight.norm().item()}

    trainer = Trainer(trial("fc", epochs=2), images, tmp_path, watch=watch)
    rows = list(trainer.run())
    assert [row["epochs_seen"] for row in rows] == [1, 2]
    assert rows == Metrics(tmp_path / "metrics.jsonl").rows()
