"""The question of `benchmarks.datasets`: a histogram. Also Dask's program uses these functions.

This module imports only numpy, because Dask runs in an environment without zoolet.
"""

from typing import Any

import numpy as np

LOW, HIGH = -5.0, 5.0
COLUMN = "value"


def histogram(values: Any, bins: int) -> Any:
    """Return how many values are in each of ``bins`` equal parts of the range LOW to HIGH."""
    scaled = (values - LOW) * (bins / (HIGH - LOW))
    return np.bincount(np.clip(scaled, 0, bins - 1).astype(np.int16), minlength=bins)


def count(table: Any, parameters: dict[str, int]) -> list[int]:
    """Return the histogram of a row group: the task of zoolet."""
    return [int(n) for n in histogram(table.column(COLUMN).to_numpy(), parameters["bins"])]


def merge(results: list[list[int]]) -> list[int]:
    """Return the sum of histograms."""
    return [sum(parts) for parts in zip(*results, strict=True)]
