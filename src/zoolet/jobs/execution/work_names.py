"""The names that executors of a worker with several queues use for jobs and datasets.

Jobs of two queues can have the same name, and two queues can have different data under the same
name. So a worker with several queues gives each queue a *tag*, a number and a ``/``. In an
executor, the tag is in front of the names of jobs, and in front of the datasets of loaded groups.
The name of a job contains no ``/``, because it is the name of a znode. A worker with one queue has
the tag "".

This module imports nothing of zoolet.
"""


def tag_of(name: str) -> str:
    """Return the tag in front of the name of a job; "" if there is none."""
    return name[: name.find("/") + 1]


def job_name_of(name: str) -> str:
    """Return the name of a job without its tag."""
    return name[name.find("/") + 1 :]
