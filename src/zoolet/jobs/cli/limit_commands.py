"""The commands ``zoolet jobs limit``: add, list and remove the limits of a queue.

This module imports click, `zoolet.jobs.limits`, `zoolet.jobs.records` and other modules of its
package.
"""

from dataclasses import asdict
from typing import Any

import click

from zoolet.jobs.cli.options import Target, dispatcher_on, errors_as_messages, queue_options
from zoolet.jobs.records.limits import Limit


@click.group("limit")
def limit_group() -> None:
    """Limit how many attempts run at the same time, or how many start per second."""


@limit_group.command("add")
@click.argument("name")
@queue_options
@click.option(
    "--concurrent",
    type=click.IntRange(min=0),
    help="Largest number of attempts that run at the same time; 0 pauses the jobs.",
)
@click.option(
    "--per-second",
    type=click.FloatRange(min=0, min_open=True),
    help="Largest number of attempts that start per second, for example 0.5.",
)
@click.option(
    "--burst",
    type=click.IntRange(min=1),
    help="Largest number of attempts that start at once after a pause.  [default: a quarter of"
    " --per-second]",
)
@click.option("--task", help="Limit only jobs of this task.")
@click.option("--dataset", help="Limit only jobs of this dataset.")
@click.option("--key", help="Limit only jobs with this limit key.")
@click.option("--per-key", is_flag=True, help="Count the jobs of each limit key on their own.")
def add(*, target: Target, **values: Any) -> None:
    """Add the limit NAME, or change it. Without --task, --dataset and --key: for all jobs."""
    with errors_as_messages():
        limit = Limit(**values)
        with dispatcher_on(target) as dispatcher:
            dispatcher.queue.limits.add(limit)
    target.printer.answer({"limit": asdict(limit)}, f"limit {limit.name}: {limit.text}")


@limit_group.command("list")
@queue_options
def list_limits(*, target: Target) -> None:
    """List the limits of a queue, with the jobs that run and wait under each limit."""
    with errors_as_messages(), dispatcher_on(target) as dispatcher:
        found = dispatcher.queue.limits.all()
    if target.printer.is_json:
        for use in found:
            target.printer.answer(
                {"limit": asdict(use.limit), "running": use.running, "waiting": use.waiting}
            )
        return
    target.printer.records(
        ("limit", "what", "running#", "waiting#"),
        [
            (
                use.limit.name,
                use.limit.text,
                "" if use.limit.concurrent is None else str(use.running),
                str(use.waiting),
            )
            for use in found
        ],
    )


@limit_group.command("remove")
@click.argument("name")
@queue_options
def remove(*, target: Target, name: str) -> None:
    """Remove the limit NAME; the jobs that wait for it may start."""
    with errors_as_messages(), dispatcher_on(target) as dispatcher:
        dispatcher.queue.limits.remove(name)
    target.printer.answer({"removed": name}, f"limit {name} is removed")
