"""The part of ``zoolet data restore`` that writes to a running server."""

import asyncio
import json
import sys
from typing import NamedTuple

import click

from zoolet.archive.live.plan import Plan
from zoolet.archive.live.planning import plan_restore
from zoolet.archive.live.restoring import Outcome, restore
from zoolet.client.asyncio_client.client import AsyncClient
from zoolet.client.connecting.options import ClientOptions
from zoolet.client.connecting.settings import ConnectionSettings
from zoolet.client.errors import AuthFailedError, ConnectionLossError, ZooKeeperError
from zoolet.console.reporting import fail
from zoolet.console.texts import counted, escaped
from zoolet.state_machine.machine import StateMachine

_PARTLY = (
    "The server may have a part of the changes. Run the command again: it compares the states"
    " again."
)


class Wishes(NamedTuple):
    """How a plan is shown and written; the fields are those of the options."""

    most_counter_steps: int
    most_lines: int
    as_json: bool
    dry_run: bool
    is_confirmed: bool


def restore_to_server(
    machine: StateMachine, path: str, settings: ConnectionSettings, wishes: Wishes
) -> None:
    """Compare, show the plan, ask, write. No connection is open while the user reads the plan."""
    try:
        plan = asyncio.run(_plan(machine, path, settings, wishes.most_counter_steps))
    except AuthFailedError:
        fail("zoolet: the server refuses the login: check the scheme and the secret of --auth")
    except ZooKeeperError as error:
        fail(f"zoolet: {escaped(str(error))}")
    _show(plan, machine.zxid, settings.hosts, wishes)
    if plan.is_empty or wishes.dry_run:
        sys.exit(1 if plan.blocked or plan.counters_too_far else 0)
    _confirm(settings.hosts, wishes)
    try:
        outcome = asyncio.run(_write(machine, plan, settings))
    except KeyboardInterrupt:
        fail(f"zoolet: interrupted. {_PARTLY}")
    except ZooKeeperError as error:
        fail(f"zoolet: {escaped(str(error))}. {_PARTLY}{_if_too_large(error)}")
    _tell(outcome, plan, wishes.most_lines)


def _if_too_large(error: ZooKeeperError) -> str:
    """Return the advice for a write because of which the server may have closed the connection."""
    if not isinstance(error, ConnectionLossError) or error.request not in {"create", "set"}:
        return ""
    return (
        f" If the connection is lost at {escaped(error.path)} again, the data of this znode may be"
        " too long for the server: raise jute.maxbuffer there."
    )


async def _plan(
    machine: StateMachine, path: str, settings: ConnectionSettings, most_counter_steps: int
) -> Plan:
    async with _client(settings) as client:
        return await plan_restore(client, machine.tree, path, most_counter_steps)


async def _write(machine: StateMachine, plan: Plan, settings: ConnectionSettings) -> Outcome:
    async with _client(settings) as client:
        return await restore(client, machine.tree, plan)


def _client(settings: ConnectionSettings) -> AsyncClient:
    options = ClientOptions(
        connect_timeout_s=settings.connect_timeout_s, auth=settings.auth, tls=settings.tls
    )
    return AsyncClient(settings.hosts, options)


def _show(plan: Plan, zxid: int, hosts: str, wishes: Wishes) -> None:
    if wishes.as_json:
        for shown in plan.objects():
            click.echo(json.dumps(shown, ensure_ascii=False))
        return
    click.echo(f"Plan for {escaped(plan.root)} on {hosts}, as of zxid 0x{zxid:x}:")
    for line in plan.summary():
        click.echo(line)
    for line in plan.lines(wishes.most_lines):
        click.echo(f"  {line}")


def _confirm(hosts: str, wishes: Wishes) -> None:
    """Ask whether to write; exit with status 1 if not."""
    if wishes.is_confirmed:
        return
    if not sys.stdin.isatty():
        fail("zoolet: nothing was written. Add --yes to write without a question.")
    if not click.confirm(f"Write these changes to {hosts}?", err=True):
        fail("zoolet: nothing was written.")


def _tell(outcome: Outcome, plan: Plan, most_lines: int) -> None:
    """Print what was written; exit with status 1 if a change was not made."""
    counters = len(plan.counters) + len(plan.counters_too_far)
    click.echo(
        f"{outcome.written} of {counted(len(plan.steps), 'change')} and {outcome.counters} of"
        f" {counted(counters, 'sequence counter')} written",
        err=True,
    )
    for what, path, reason in outcome.conflicts[:most_lines]:
        click.echo(f"not done: {what}  {escaped(path)}: {reason}", err=True)
    if len(outcome.conflicts) > most_lines:
        click.echo(f"... and {len(outcome.conflicts) - most_lines} more", err=True)
    if outcome.conflicts:
        click.echo("To compare again, run the same command again.", err=True)
    if plan.counters_too_far:
        click.echo("A sequence counter is too low: see the plan.", err=True)
    if outcome.conflicts or plan.blocked or plan.counters_too_far:
        sys.exit(1)
