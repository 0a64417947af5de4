"""Print the table of docs/results/mnist.md from the records that stand beside it.

usage: python benchmarks/mnist_table.py
"""

import zipfile
from pathlib import Path

import pandas as pd
from scipy import stats

RECORDS = Path(__file__).parents[1] / "docs" / "results" / "mnist" / "records.zip"


def main() -> None:
    """Print mean and standard deviation over seeds, and the Welch test of the default layer against fc."""
    with zipfile.ZipFile(RECORDS) as records, records.open("curves.csv") as file:
        curves = pd.read_csv(file)
    curves["error"] = 100 * curves["test_error"]
    for model, epoch in (("low_rank", 30), ("diagonal", 30), ("fc", 30), ("paper", 20), ("paper", 200)):
        error = curves[(curves["model"] == model) & (curves["epoch"] == epoch)]["error"]
        print(f"{model:9} epoch {epoch:3}  {error.mean():.2f} ± {error.std():.2f} %  {len(error)} seeds")
    last = curves[curves["epoch"] == 30]
    ours, theirs = (last[last["model"] == model].sort_values("seed")["error"] for model in ("low_rank", "fc"))
    print(f"low_rank, seeds 0-4: {ours.iloc[:5].mean():.2f}, seeds 5-9: {ours.iloc[5:].mean():.2f} %")
    print(f"Welch test, low_rank against fc: p = {stats.ttest_ind(ours, theirs, equal_var=False).pvalue:.2f}")


if __name__ == "__main__":
    main()
