"""Series: several numbers at equal times, cut into windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor


@dataclass(frozen=True)
class Series:
    """Several series at equal times, standardised by those that may be trained on.

    Attributes:
        names: of the series.
        times: of the rows.
        values: (rows, series), float32, of mean 0 and variance 1 over the training rows.
        mean: of the training rows, (series,).
        std: of the training rows, (series,).
        ends: the numbers of rows up to the ends of training, validation and test.
    """

    names: tuple[str, ...]
    times: pd.DatetimeIndex
    values: Tensor
    mean: Tensor
    std: Tensor
    ends: tuple[int, int, int]

    @classmethod
    def of(cls, table: pd.DataFrame, ends: tuple[int, int, int]) -> Series:
        """Return the series of a table of numbers whose index are times."""
        raw = torch.from_numpy(table.to_numpy(np.float64))
        mean, std = raw[: ends[0]].mean(0), raw[: ends[0]].std(0, correction=0)
        std = torch.where(std > 0, std, 1.0)
        values = ((raw - mean) / std).float()
        return cls(tuple(map(str, table.columns)), pd.DatetimeIndex(table.index), values, mean, std, ends)

    def windows(self, part: int, look_back: int, horizon: int) -> Tensor:
        """Return the first rows of all windows whose targets lie in a part: 0 for training, 1 validation, 2 test."""
        low = 0 if part == 0 else self.ends[part - 1] - look_back
        return torch.arange(low, self.ends[part] - look_back - horizon + 1)

    def read(self, starts: Tensor, look_back: int, horizon: int) -> tuple[Tensor, Tensor]:
        """Return what is read, (windows, series, look_back), and what came after it, (windows, series, horizon)."""
        rows = self.values[starts.unsqueeze(1) + torch.arange(look_back + horizon)].transpose(1, 2)
        return rows[..., :look_back], rows[..., look_back:]

    def batches(
        self, part: int, look_back: int, horizon: int, *, every: int = 1, size: int = 128
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all windows of a part in order, or every so many."""
        for starts in self.windows(part, look_back, horizon)[::every].split(size):
            yield self.read(starts, look_back, horizon)
