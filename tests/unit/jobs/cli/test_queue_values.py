"""Options of a worker for one of its queues: ``PATH=VALUE``."""

import random

import click
import pytest
from click.testing import CliRunner

from zoolet.jobs import WorkerQueue
from zoolet.jobs.cli.queue_values import queues_of
from zoolet.jobs.cli.worker_command import worker


def test_one_queue_is_as_it_was() -> None:
    assert queues_of(["/q=3"], [], ["m:f"]) == ({"/q=3": WorkerQueue()}, "m:f")


def test_values_for_one_queue_and_for_all() -> None:
    queues, loader = queues_of(
        ["/a", "/a=b", "/c"], ["/a=3", "/a=b=5"], ["m:all", "/c=m:c", "/a=b=m:d"]
    )
    assert queues == {
        "/a": WorkerQueue(3),
        "/a=b": WorkerQueue(5, "m:d"),
        "/c": WorkerQueue(1, "m:c"),
    }
    assert loader == "m:all"


@pytest.mark.parametrize(
    ("weights", "loaders", "complaint"),
    [
        (["3"], [], "--weight 3: give --weight PATH=NUMBER"),
        (["/x=3"], [], "--weight /x=3: there is no --queue of this path"),
        (["/a"], [], "there is no --queue of this path; give --weight PATH=VALUE"),
        (["/a=0"], [], "'0' is not a whole number from 1 to 1000"),
        (["/a=1001"], [], "'1001' is not"),
        (["/a=²"], [], "'²' is not"),
        (["/a="], [], "'' is not"),
        (["/a=1", "/a=2"], [], "--weight has two values for the queue /a"),
        ([], ["m:f", "m:g"], "--loader has two values: give one, or --loader PATH=VALUE"),
    ],
)
def test_wrong_values_are_refused(weights: list[str], loaders: list[str], complaint: str) -> None:
    with pytest.raises(click.UsageError) as raised:
        queues_of(["/a", "/b"], weights, loaders)
    assert complaint in str(raised.value)


def test_a_queue_is_named_one_time() -> None:
    with pytest.raises(click.UsageError, match="names a queue twice"):
        queues_of(["/a", "/b", "/a"], [], [])


def test_the_environment_names_one_queue_whatever_its_path() -> None:
    environment = {"ZOOLET_QUEUE": "/jobs/a b"}
    result = CliRunner().invoke(worker, ["--weight", "/jobs/a b=0"], env=environment)
    assert "'0' is not a whole number" in result.output, result.output
    result = CliRunner().invoke(worker, ["--queue", "jobs"], env=environment)
    assert "'jobs' is not a valid znode path" in result.output


@pytest.mark.parametrize("seed", range(20))
def test_each_value_finds_its_queue(seed: int) -> None:
    chance = random.Random(seed)
    roots = list({f"/{''.join(chance.choices('ab=1', k=chance.randint(1, 4)))}" for _ in range(6)})
    wanted = {root: chance.randint(1, 1000) for root in roots}
    queues, *_ = queues_of(roots, [f"{root}={weight}" for root, weight in wanted.items()], [])
    # A value like /a=1=5 is for the queue /a=1 if it exists, so only such pairs may differ.
    for root, weight in wanted.items():
        if not any(
            f"{root}={weight}".startswith(f"{longer}=") for longer in roots if longer > root
        ):
            assert queues[root].weight == weight
