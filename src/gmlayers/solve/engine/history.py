"""The history of a run: the one type that all results with steps have."""

from __future__ import annotations

import warnings
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from gmlayers._names import brief_value
from gmlayers._shown import shown

S = TypeVar("S", bound=tuple[Any, ...])


class Iteration(NamedTuple):
    """One iteration of :func:`~gmlayers.solve.variable_projection` or :func:`~gmlayers.solve.collocate`."""

    number: int
    """0 for the start."""
    residual: float
    """The weighted root mean square of what is left, the outputs of a row summed."""
    seconds: float
    """The time since the start of the run."""

    # As numbers, and among themselves, iterations are their residuals; as tuples they would be ordered by `number`.

    def __float__(self) -> float:
        """Return the residual."""
        return self.residual

    def __lt__(self, other: Any) -> bool:  # noqa: ANN401
        return self.residual < float(other)

    def __le__(self, other: Any) -> bool:  # noqa: ANN401
        return self.residual <= float(other)

    def __gt__(self, other: Any) -> bool:  # noqa: ANN401
        return self.residual > float(other)

    def __ge__(self, other: Any) -> bool:  # noqa: ANN401
        return self.residual >= float(other)

    def __repr__(self) -> str:
        """Return the numbers with four digits."""
        return shown("Iteration", self._asdict())


class History(tuple[S, ...], Generic[S]):
    """The steps of a run, in order: a tuple, from which a column of numbers can be taken.

    Example:
        >>> from gmlayers import solve
        >>> history = solve.History([solve.Iteration(0, 0.5, 0.1), solve.Iteration(1, 0.25, 0.2)])
        >>> history[-1].number, history.column("residual")
        (1, tensor([0.5000, 0.2500], dtype=torch.float64))
    """

    def column(self, name: str) -> Tensor:
        """Return what all steps have by that name, as numbers in float64, (steps,)."""
        known = self[0]._fields if self else ()  # pyright: ignore[reportAttributeAccessIssue]
        if not isinstance(name, str) or (self and name not in known):
            raise ValueError(f"History.column: name must be one of {', '.join(known)}, got {brief_value(name)}")
        return torch.tensor([getattr(step, name) for step in self], dtype=torch.float64)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """Return what the residuals of iterations have by that name; they were a tensor once."""
        if name.startswith("_") or not self or not isinstance(self[0], Iteration) or not hasattr(Tensor, name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        warnings.warn(
            f"the history of a descent has steps now, and is no tensor; take history.column('residual').{name}",
            FutureWarning,
            stacklevel=2,
        )
        return getattr(self.column("residual"), name)

    def __repr__(self) -> str:
        """Return the number of all steps, and the last one."""
        return f"History of {len(self)} steps, of which the last is\n{self[-1]!r}" if self else "History of no steps"
