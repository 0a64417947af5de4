"""Print the table of docs/performance.md from the records of ``benchmarks/speed.py``."""

from __future__ import annotations

import csv
import statistics
import sys
from collections import defaultdict
from pathlib import Path

from speed import CASES


def main() -> None:
    """Print one table for the files given."""
    times: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for path in map(Path, sys.argv[1:]):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                times[row["threads"], row["case"], row["row"]].append(float(row["seconds"]))
    counts = sorted({threads for threads, _, _ in times})
    head = [f"{n} thread{'s' * (n != '1')}" for n in counts]
    print(f"| case | ratio | target | {' | '.join(head)} |")
    print(f"|---|---|---|{'---|' * len(counts)}")
    for case in CASES:
        for target in case.targets:
            cells = []
            for threads in counts:
                ours, peer = times[threads, case.name, target.row], times[threads, case.name, target.peer]
                ratios = [a / b for a, b in zip(ours, peer)]
                cells.append(f"{statistics.median(ratios):.3g} [{min(ratios):.3g}, {max(ratios):.3g}]")
            sign = "≥" if target.at_least else "≤"
            print(f"| {case.name} | {target.row} / {target.peer} | {sign} {target.bound} | {' | '.join(cells)} |")
        if case.memory_peer is not None:
            name = f"peak memory / {case.memory_peer}"
            cells = [f"{times[threads, case.name, name][0]:.2f}" for threads in counts]
            print(f"| {case.name} | {name} | ≤ 0.5 | {' | '.join(cells)} |")
    print()
    print(f"| case | row | {' | '.join(f'{h}, ms' for h in head)} |")
    print(f"|---|---|{'---|' * len(counts)}")
    for case in CASES:
        for row in dict.fromkeys(row for _, name, row in times if name == case.name and "memory" not in row):
            cells = []
            for threads in counts:
                found = [1e3 * t for t in times[threads, case.name, row]]
                cells.append(f"{statistics.median(found):.3g} [{min(found):.3g}, {max(found):.3g}]")
            print(f"| {case.name} | {row} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
