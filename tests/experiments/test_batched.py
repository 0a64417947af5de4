import dataclasses
import json
import math

import pytest
import torch

from gmlayers import Diagonal, GMLayer, LowRank, Regression
from gmlayers.experiments.batched import BatchedTrainer
from gmlayers.experiments.models import MODELS, Shape
from gmlayers.experiments.trainer import Diverged, Trainer, Trial, read_model

SMALL = Shape(width=8)


def trial(model="low_rank", shape=SMALL, seed=3, validate=False, **changes):
    changes = {"epochs": 3, "batch_size": 16, **changes}
    return Trial(model, shape, dataclasses.replace(MODELS[model].recipe, **changes), seed, validate)


def timeless(row):
    return {name: value for name, value in row.items() if name != "seconds"}


def assert_equal(batched, apart):
    """Weights, metrics, rates and random numbers of trained trials."""
    for one, other in zip(batched, apart, strict=True):
        assert one.epoch == other.epoch
        torch.testing.assert_close(one.model.state_dict(), other.model.state_dict(), rtol=2e-5, atol=2e-6)
        torch.testing.assert_close(one.random_state, other.random_state, rtol=0, atol=0)
        assert one.scheduler.state_dict() == other.scheduler.state_dict()
        a, b = one.optimizer.state_dict(), other.optimizer.state_dict()
        assert json.dumps(a["param_groups"]) == json.dumps(b["param_groups"])  # a checkpoint makes lists of tuples
        torch.testing.assert_close(a["state"], b["state"], rtol=1e-4, atol=1e-5)


def check(trials, data):
    """Train together and apart, and compare."""
    batched = BatchedTrainer(trials, data)
    together = list(batched.run())
    apart = [Trainer(t, data) for t in trials]
    for index, trainer in enumerate(apart):
        for row, rows in zip(trainer.run(), together, strict=True):
            assert timeless(rows[index]) == pytest.approx(timeless(row), rel=1e-5)
    assert_equal(batched.trainers, apart)


SEEDS = [0, 3, 2**63 - 1]
CHANGES = [
    {},
    {"input_dropout": 0.0, "label_smoothing": 0.1, "standardise": False},
    {"optimizer": "adamw", "schedule": "cosine", "weight_decay": 0.1},
    {"optimizer": "adam", "schedule": "constant", "weight_decay": 0.1},
    {"optimizer": "sgd", "schedule": "one-cycle", "lr": 0.1, "weight_decay": 0.1},
]
RATES = [{"lr": 0.02, "std_lr": 0.01}, {"lr": 0.001, "std_lr": 3.0}, {"lr": 0.0, "std_lr": 0.0}]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_seeds(images, changes):
    check([trial(seed=seed, **changes) for seed in SEEDS], images)


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_rates(images, changes):
    check([trial(seed=seed, **{**changes, **rates}) for seed, rates in zip(SEEDS, RATES)], images)


@pytest.mark.parametrize("model", ["low_rank", "diagonal", "paper"])
def test_initial_sizes(images, model):
    shapes = [Shape(components=4, init_scale=scale) for scale in (None, 0.2, 0.7)]
    check([trial(model, shape) for shape in shapes], images)


@pytest.mark.parametrize("model", sorted(MODELS))
def test_regression_and_validation(numbers, model):
    shape = Shape(components=4) if model == "paper" else SMALL
    changes = {"input_dropout": 0.0, "standardise": True, "lr": 1e-3, "std_lr": 1e-3}
    check([trial(model, shape, seed, validate=True, **changes) for seed in SEEDS], numbers)


FAMILIES = [LowRank(0), LowRank(2, "diagonal"), LowRank(1, coupling=True), Diagonal(), Regression()]


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_families_and_learned_weights(images, monkeypatch, family):
    def build(in_features, out_features, shape):
        return GMLayer(in_features, out_features, 4, covariance=family, activation="gelu", learn_weights=True)

    monkeypatch.setitem(MODELS, "low_rank", dataclasses.replace(MODELS["low_rank"], build=build))
    check([trial(seed=seed) for seed in SEEDS], images)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_seeds_and_rates_on_a_gpu(images):
    trials = [dataclasses.replace(trial(seed=seed, lr=1e-3 * (1 + seed % 2)), device="cuda") for seed in SEEDS]
    check(trials, images)


def test_one_trial_alone(images):
    check([trial()], images)


def test_the_global_generator_is_left_as_it_was(images):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(BatchedTrainer([trial(seed=0), trial(seed=1)], images).run())
    assert torch.equal(torch.rand(3), expected)


# --- folders -------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path):
    return [tmp_path / str(seed) for seed in SEEDS]


def apart(trials, data, folders):
    return [Trainer(t, data, folder) for t, folder in zip(trials, folders)]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_an_interrupted_run_continues_to_the_same_bits(images, folders, tmp_path, changes):
    trials = [trial(seed=seed, **changes) for seed in SEEDS]
    whole = BatchedTrainer(trials, images)
    rows = list(whole.run())
    run = BatchedTrainer(trials, images, folders).run()
    next(run), next(run)
    torch.manual_seed(999)  # whatever else happens in the process
    parts = BatchedTrainer(trials, images, folders)
    assert [t.epoch for t in parts.trainers] == [2, 2, 2]
    assert len(list(parts.run())) == 1
    for index, (one, other) in enumerate(zip(whole.trainers, parts.trainers, strict=True)):
        torch.testing.assert_close(one.model.state_dict(), other.model.state_dict(), rtol=0, atol=0)
        assert other.metrics is not None
        assert [timeless(row) for row in other.metrics.rows()] == [timeless(row[index]) for row in rows]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_begun_together_and_continued_apart_and_the_other_way_round(images, folders, changes):
    trials = [trial(seed=seed, epochs=4, **changes) for seed in SEEDS]
    next(BatchedTrainer(trials, images, folders).run())
    for trainer in apart(trials, images, folders):
        assert trainer.epoch == 1
        next(trainer.run())
    batched = BatchedTrainer(trials, images, folders)
    assert len(list(batched.run())) == 2
    whole = apart(trials, images, [None] * 3)
    for trainer in whole:
        list(trainer.run())
    assert_equal(batched.trainers, whole)
    assert list(BatchedTrainer(trials, images, folders).run()) == []


def test_folders_hold_what_the_models_hold(images, folders):
    trials = [trial(seed=seed) for seed in SEEDS]
    batched = BatchedTrainer(trials, images, folders)
    list(batched.run())
    for trainer, folder in zip(batched.trainers, folders):
        kept = read_model(trainer.trial, trainer.task, folder).state_dict()
        torch.testing.assert_close(kept, trainer.model.state_dict(), rtol=0, atol=0)


def test_trials_that_are_behind_catch_up_first(images, folders):
    """Killed between the checkpoints of an epoch, or begun apart."""
    trials = [trial(seed=seed, epochs=4) for seed in SEEDS]
    list(Trainer(trials[0], images, folders[0]).run())
    next(Trainer(trials[1], images, folders[1]).run())
    batched = BatchedTrainer(trials, images, folders)
    epochs = [[row and row["epoch"] for row in rows] for rows in batched.run()]
    assert epochs == [[None, None, 1], [None, 2, 2], [None, 3, 3], [None, 4, 4]]
    whole = apart(trials, images, [None] * 3)
    for trainer in whole:
        list(trainer.run())
    assert_equal(batched.trainers, whole)


# --- divergence ----------------------------------------------------------------------------------------------


def test_a_trial_that_diverges_does_not_touch_the_others(images, folders):
    trials = [trial(seed=seed) for seed in SEEDS]
    next(BatchedTrainer(trials, images, folders).run())
    before = (folders[1] / "checkpoint.safetensors").read_bytes()
    batched = BatchedTrainer(trials, images, folders)
    with torch.no_grad():
        batched.trainers[1].model.get_parameter("net.std")[0] = math.nan
    together = []
    message = "seed 3.* stopped at step 5: the loss is nan; the first parameter that is not finite is 'net.std'"
    with pytest.raises(Diverged, match=message) as caught:
        together += batched.run()
    trainer = Trainer(trials[1], images, folders[1])
    with torch.no_grad():
        trainer.model.get_parameter("net.std")[0] = math.nan
    with pytest.raises(Diverged) as expected:
        next(trainer.run())
    assert str(caught.value) == str(expected.value)
    assert "the checkpoint of epoch 1 is kept" in str(caught.value)
    assert (folders[1] / "checkpoint.safetensors").read_bytes() == before
    assert list(batched.stopped) == [1]
    whole = apart(trials, images, [None] * 3)
    for trainer in whole:
        list(trainer.run())
    assert_equal(batched.trainers[::2], whole[::2])


def test_rates_that_throw_one_trial_out_of_range_leave_the_others_alone(images, folders):
    """One step an epoch: the loss before it is fine, the parameters after it are not."""
    options = {"optimizer": "sgd", "schedule": "constant", "batch_size": 60}
    trials = [
        trial("paper", Shape(components=4, init_scale=5.0), **options, lr=lr, std_lr=lr) for lr in (3e38, 1e-6, 3e38)
    ]
    batched = BatchedTrainer(trials, images, folders)
    rows = []
    with pytest.raises(Diverged, match=r"step 1: the loss is \d.* not finite is 'net.mean'.*; training paper.* step 1"):
        rows += batched.run()
    assert [[row and row["epoch"] for row in line] for line in rows] == [[None, e, None] for e in (1, 2, 3)]
    assert not list(folders[0].iterdir())
    alone = Trainer(trials[1], images)
    list(alone.run())
    assert_equal(batched.trainers[1:2], [alone])


def test_all_trials_may_diverge(images):
    batched = BatchedTrainer([trial(seed=s, optimizer="sgd", lr=1e30, std_lr=1e30) for s in (0, 1)], images)
    with pytest.raises(Diverged, match=r"\(seed 0\) stopped .*; training low_rank \(seed 1\) stopped"):
        list(batched.run())


# --- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (trial("fc"), "got model 'low_rank' and 'fc'; train those apart"),
        (trial(shape=Shape(width=9)), "got width 8 and 9"),
        (trial(shape=Shape(width=8, activation="erf")), "got activation 'relu' and 'erf'"),
        (trial(epochs=5), "may differ in seed, init_scale, lr and std_lr only, got epochs 3 and 5"),
        (trial(batch_size=5), "got batch_size 16 and 5"),
        (trial(optimizer="sgd"), "got optimizer 'adam' and 'sgd'"),
        (trial(schedule="cosine"), "got schedule 'one-cycle' and 'cosine'"),
        (trial(weight_decay=0.5), "got weight_decay 0.0 and 0.5"),
        (trial(input_dropout=0.5), "got input_dropout 0.3 and 0.5"),
        (trial(validate=True), "got validate False and True"),
        (dataclasses.replace(trial(), device="cuda"), "got device 'cpu' and 'cuda'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_trials_that_cannot_be_trained_together(images, tmp_path, other, message):
    with pytest.raises(ValueError, match=message):
        BatchedTrainer([trial(), other], images, [tmp_path / "a", tmp_path / "b"])
    assert not list(tmp_path.iterdir())


def test_no_trials(images):
    flows = [trial(seed=seed, optimizer="wasserstein-sgd", std_lr=0.01, lr=0.01) for seed in (0, 1)]
    with pytest.raises(ValueError, match="wasserstein-sgd looks into layers and trains one model at a time"):
        BatchedTrainer(flows, images)
    with pytest.raises(ValueError, match="no trials to train; give at least one"):
        BatchedTrainer([], images)


@pytest.mark.parametrize("names", ["a", "aa", "abc", "aab"])
def test_folders_must_be_one_per_trial(images, tmp_path, names):
    with pytest.raises(ValueError, match="give every trial a folder of its own; got 2 trials and the folders .*a"):
        BatchedTrainer([trial(seed=0), trial(seed=1)], images, [tmp_path / name for name in names])


def test_compiled(images):
    trials = [
        trial(seed=seed, shape=dataclasses.replace(SMALL, init_scale=scale)) for seed, scale in ((0, 0.1), (1, 0.2))
    ]
    plain, compiled = BatchedTrainer(trials, images), BatchedTrainer(trials, images, compiled=True)
    for trainer in (plain, compiled):
        list(trainer.run())
    assert_equal(compiled.trainers, plain.trainers)


def test_models_stand_alone_at_the_end(images):
    batched = BatchedTrainer([trial(seed=seed) for seed in (0, 1)], images)
    for _ in batched.run():
        pass
    for trainer in batched.trainers:
        for parameter in trainer.model.parameters():
            assert parameter.untyped_storage().nbytes() == parameter.nbytes
