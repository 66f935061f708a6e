"""Answers the questions of `benchmarks.datasets` with Dask, in Dask's own environment.

Usage: python dask_datasets.py CHECKOUT DIRECTORY SMALL_DIRECTORY BINS [BINS ...]
prints a line of JSON.
"""

import json
import logging
import sys
import time
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])

import dask
import dask.dataframe as dd
import numpy as np
from dask.distributed import Client, LocalCluster, as_completed

from benchmarks.histograms import COLUMN, histogram

WORKERS = 2


def of_part(frame: Any, bins: int) -> Any:
    """Return the histogram of a part of the data frame."""
    return histogram(frame[COLUMN].to_numpy(), bins)


def read(directory: str) -> Any:
    """Return the data frame, with one part for each row group."""
    return dd.read_parquet(directory, columns=[COLUMN], split_row_groups=True)


def ask(client: Any, frame: Any, bins: int) -> dict[str, Any]:
    """Ask a question: the time of the answer and of the first part, in s, and the answer."""
    began = time.perf_counter()
    parts = [dask.delayed(of_part)(part, bins) for part in frame.to_delayed()]
    futures = client.compute(parts)
    first_s, total = 0.0, np.zeros(bins, dtype=np.int64)
    for _, value in as_completed(futures, with_results=True):
        total += value
        first_s = first_s or time.perf_counter() - began
    return {
        "s": time.perf_counter() - began,
        "first_s": first_s,
        "answer": [int(count) for count in total],
    }


def main() -> None:
    """Ask each question, without and with persisted data."""
    directory, small = sys.argv[2:4]
    questions = [int(bins) for bins in sys.argv[4:]]
    cluster = LocalCluster(
        n_workers=WORKERS,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
    )
    with cluster, Client(cluster) as client:
        ask(client, read(small), 10)
        frame = read(directory)
        plain = [ask(client, frame, bins) for bins in questions]
        began = time.perf_counter()
        persisted = frame.persist()
        loaded = [ask(client, persisted, bins) for bins in questions]
        loaded[0]["s"] = time.perf_counter() - began - sum(each["s"] for each in loaded[1:])
        print(json.dumps({"plain": plain, "persisted": loaded}))


if __name__ == "__main__":
    main()
