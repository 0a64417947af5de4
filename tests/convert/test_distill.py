import copy
import math

import pytest
import torch
from torch import nn

from gmlayers import GMLayer, convert


def teacher_and_data(dtype=torch.float32):
    teacher = nn.Sequential(nn.Linear(4, 20, dtype=dtype), nn.Dropout(0.5), nn.ReLU(), nn.Linear(20, 2, dtype=dtype))
    return teacher, torch.randn(300, 4, dtype=dtype)


def relative(student, teacher, x):
    with torch.no_grad():
        target = teacher.eval()(x)
        wrong = (student(x) - target).square().sum() / (target - target.mean(0)).square().sum()
    return wrong.item()


def test_distilling_improves_a_fit(dtype):
    teacher, x = teacher_and_data(dtype)
    fit = convert.mlp_to_gm(teacher[0], teacher[3], 4, x=x)
    losses = convert.distill(fit.module, teacher, x, epochs=30, lr=3e-3)
    assert len(losses) == 30
    assert relative(fit.module, teacher, x) < min(losses[-1] * 1.05, 0.8 * fit.error**2)


def test_one_step_of_one_batch_is_adam():
    """Every entry moves by the rate against the sign of its gradient: the first step of Adam."""
    teacher, x = teacher_and_data(torch.float64)
    student = GMLayer(4, 2, 3, dtype=torch.float64)
    twin = copy.deepcopy(student)
    losses = convert.distill(student, teacher, x, epochs=1, batch_size=300, lr=1e-3)
    assert losses[0] == pytest.approx(relative(twin, teacher, x))
    target = teacher.eval()(x).detach()
    ((twin(x) - target).square().sum() / (target - target.mean(0)).square().sum()).backward()
    for (name, new), old in zip(student.named_parameters(), twin.parameters()):
        expected = old.detach() - 1e-3 * old.grad / (old.grad.abs() + 1e-8)
        torch.testing.assert_close(new.detach(), expected, msg=lambda m, name=name: f"{name}: {m}")


def test_same_generator_same_student_and_modes_are_kept():
    teacher, x = teacher_and_data()
    teacher[1].train()
    teacher[2].eval()
    students = [nn.Sequential(GMLayer(4, 2, 3)) for _ in range(2)]
    students[1].load_state_dict(students[0].state_dict())
    runs = [
        convert.distill(s.eval(), teacher, x, epochs=2, generator=torch.Generator().manual_seed(1)) for s in students
    ]
    assert runs[0] == runs[1]
    torch.testing.assert_close(students[0].state_dict(), students[1].state_dict(), rtol=0, atol=0)
    assert [m.training for m in teacher] == [True, True, False, True]
    assert not students[0].training
    assert all(p.grad is None for p in teacher.parameters())


def test_progress_and_nothing_to_do():
    teacher, x = teacher_and_data()
    student = GMLayer(4, 2, 3)
    seen = []
    losses = convert.distill(student, teacher, x, epochs=3, progress=lambda epoch, loss: seen.append((epoch, loss)))
    assert seen == list(enumerate(losses, 1))
    before = copy.deepcopy(student.state_dict())
    assert convert.distill(student, teacher, x, epochs=0) == []
    torch.testing.assert_close(student.state_dict(), before, rtol=0, atol=0)


def test_a_constant_teacher():
    teacher, x = teacher_and_data()
    with torch.no_grad():
        teacher[3].weight.zero_()
    losses = convert.distill(GMLayer(4, 2, 3), teacher, x[:1], epochs=2)
    assert all(math.isfinite(loss) for loss in losses)


def test_refusals():
    teacher, x = teacher_and_data()
    student = GMLayer(4, 2, 3)
    for bad in ({"epochs": -1}, {"epochs": 1, "batch_size": 0}):
        with pytest.raises(ValueError, match="distill: expected epochs of at least 0"):
            convert.distill(student, teacher, x, **bad)
    with pytest.raises(ValueError, match=r"x must be inputs of shape \(n, ...\) with n at least 1, got \(0, 4\)"):
        convert.distill(student, teacher, x[:0], epochs=1)
    with pytest.raises(TypeError, match="epochs must be a whole number, got 1.5"):
        convert.distill(student, teacher, x, epochs=1.5)
    with pytest.raises(ValueError, match="lr must be positive and finite, got 0"):
        convert.distill(student, teacher, x, epochs=1, lr=0)
    with pytest.raises(ValueError, match=r"student gives outputs of shape \(128, 3\), the teacher of shape \(128, 2\)"):
        convert.distill(GMLayer(4, 3, 3), teacher, x, epochs=1)
    with pytest.raises(ValueError, match="the loss is nan in epoch 1; try an lr below 1e"):
        convert.distill(student, teacher, x, epochs=1, lr=1e30)
    with pytest.raises(ValueError, match="distill: the student has no parameter that requires a gradient"):
        convert.distill(GMLayer(4, 2, 3).requires_grad_(False), teacher, x, epochs=1)
