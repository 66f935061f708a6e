"""The task that merges results of other jobs: it calls the function that the user names.

This module imports other modules of its package.
"""

from typing import Any

from zoolet.jobs.execution.functions import TASKS, load_function


def merge_results(_: None, parameters: dict[str, Any]) -> Any:
    """Return the merged ``results``; ``function`` is the name of the merging function."""
    return load_function(parameters["function"], TASKS)(parameters["results"])
