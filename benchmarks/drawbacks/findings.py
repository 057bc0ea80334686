"""What the experiments found, as plain data that is true at every moment of the run.

The dictionary is the caller's: an experiment is written into it after every seed, so that whoever
stops the run (Ctrl-C) keeps everything that was done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastmlp.kernels.contract import Array

Progress = Callable[[float, str], None]
"""Takes the fraction done (0 to 1) and what is being done."""

Runs = Mapping[str, Sequence[Sequence[float]]]
"""Per series, per seed: one number for each x."""


class Findings:
    """Fills a dictionary with experiments, pictures, tables and what was skipped.

    Parameters
    ----------
    into : dict
        Gets the keys "experiments", "pictures", "tables" and "skipped".
    """

    def __init__(self, into: dict[str, Any]) -> None:
        self.into = into
        for key in ("experiments", "pictures", "tables", "skipped"):
            into[key] = []

    def experiment(
        self,
        name: str,
        *,
        title: str,
        question: str,
        x_label: str,
        x: Sequence[float] | Sequence[str],
        y_label: str,
        runs: Runs,
        paragraph: Callable[[dict[str, Any]], str],
    ) -> None:
        """Write an experiment; one of the same name is replaced.

        A series' `mean`, `low` and `high` are the mean, the smallest and the largest of its runs
        (seeds, or repetitions where time is measured).
        """
        series = []
        for label, values in runs.items():
            table = np.asarray(values, np.float64)  # (seeds, x)
            low, high = table.min(axis=0), table.max(axis=0)
            # The mean of equal numbers can be rounded to beside them.
            mean = np.clip(table.mean(axis=0), low, high)
            series.append(
                {
                    "label": label,
                    "mean": mean.tolist(),
                    "low": low.tolist(),
                    "high": high.tolist(),
                    "runs": table.tolist(),
                }
            )
        found = {
            "name": name,
            "title": title,
            "question": question,
            "x_label": x_label,
            "x": list(x),
            "y_label": y_label,
            "series": series,
        }
        found["paragraph"] = paragraph(found)
        self._put("experiments", found)

    def picture(
        self, name: str, title: str, images: Array, labels: Sequence[str], paragraph: str
    ) -> None:
        """Write weights (count, height, width) as grey images: 128 is zero, white is positive."""
        largest = np.abs(images).max(axis=(1, 2), keepdims=True)
        grey = np.round(128 + 127 * images / np.maximum(largest, 1e-12)).astype(int)
        self._put(
            "pictures",
            {
                "name": name,
                "title": title,
                "width": int(images.shape[2]),
                "height": int(images.shape[1]),
                "images": grey.tolist(),
                "labels": list(labels),
                "paragraph": paragraph,
            },
        )

    def table(
        self, name: str, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        """Write a table; one of the same name gets the rows appended that it does not have."""
        for table in self.into["tables"]:
            if table["name"] == name:
                table["rows"] += [list(row) for row in rows if list(row) not in table["rows"]]
                return
        table = {"name": name, "title": title, "columns": list(columns)}
        self.into["tables"].append(table | {"rows": [list(row) for row in rows]})

    def skip(self, name: str, reason: str) -> None:
        """Say what did not run, and why."""
        self._put("skipped", {"name": name, "reason": reason})

    def budget(self, experiment: str, model: str, n_parameters: int, training: str) -> None:
        """Write a row of the table of parameter budgets."""
        self.table(
            "budgets",
            "Parameter budgets: what was compared",
            ("experiment", "model", "parameters", "training"),
            [(experiment, model, n_parameters, training)],
        )

    def _put(self, key: str, found: dict[str, Any]) -> None:
        items = self.into[key]
        for index, item in enumerate(items):
            if item["name"] == found["name"]:
                items[index] = found
                return
        items.append(found)


def part_of(progress: Progress, start: float, stop: float, text: str) -> Callable[[float], None]:
    """Return a function that turns a part's own share done into a call of `progress`."""
    return lambda share: progress(start + (stop - start) * share, text)
