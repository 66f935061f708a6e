"""Copies and moves of subtrees, also to another cluster: what they would do, and their start."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoolet.client import AsyncClient, NoNodeError
from zoolet.client.transfers import is_inside, is_system
from zoolet.model import paths
from zoolet.web.access.audit import audited
from zoolet.web.operations.operation import Handle
from zoolet.web.operations.searching import count_of
from zoolet.web.operations.transferring import COPY, MOVE, Options, Report
from zoolet.web.pages.answers import RefusedError, answer
from zoolet.web.pages.operations import started
from zoolet.web.pages.posting import Form, cluster_of, cluster_url, number_in, page, posting
from zoolet.web.pages.site import site_of, visitor_of
from zoolet.web.pages.tree import check_path
from zoolet.web.settings import Cluster

_KINDS: Final = {"copy": COPY, "move": MOVE}


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a copy or a move would do."""

    kind: str
    source: Cluster
    path: str
    goal: Cluster
    target: str
    options: Options

    @property
    def fields(self) -> dict[str, str]:
        """The fields of the form that makes this plan."""
        options = self.options
        chosen = {
            "replaces": options.replaces,
            "no_acls": not options.with_acl,
            "ephemerals": options.keeps_ephemerals,
        }
        return {
            "kind": self.kind,
            "path": self.path,
            "to": self.goal.name,
            "target": self.target,
            **{name: "yes" for name, is_on in chosen.items() if is_on},
        }


def options_in(fields: Form) -> Options:
    """Return the options of a form; an option is on if its field is not empty."""
    return Options(
        replaces=bool(fields.get("replaces")),
        with_acl=not fields.get("no_acls"),
        keeps_ephemerals=bool(fields.get("ephemerals")),
    )


def _plan_in(request: Request, fields: Form) -> _Plan:
    source = cluster_of(request)
    goal = site_of(request).settings.cluster(fields.get("to", "") or source.name)
    if goal is None:
        raise RefusedError(400, "there is no cluster of this name: see the list of clusters")
    kind = fields.get("kind", "copy")
    if kind not in _KINDS:
        raise RefusedError(400, f"kind must be one of {', '.join(_KINDS)}")
    path, target = fields.get("path", ""), fields.get("target", "") or fields.get("path", "")
    for checked in (path, target):
        check_path(checked)
    options = options_in(fields)
    if kind == "move" and options.replaces:
        raise RefusedError(400, "a move overwrites no znodes: copy, and delete the source then")
    if kind == "move" and path in paths.SYSTEM_PATHS:
        raise RefusedError(400, f"{path} belongs to ZooKeeper and cannot be moved")
    if is_system(target):
        raise RefusedError(400, f"{target} belongs to ZooKeeper: choose another target")
    return _Plan(kind, source, path, goal, target, options)


async def _show(request: Request) -> Response:
    """Show the form; with a target, also what the copy or the move would do."""
    fields = dict(request.query_params)
    plan = _plan_in(request, fields)
    return await _ask(request, plan, "", 200, has_target=bool(fields.get("target")))


async def _ask(
    request: Request, plan: _Plan, error: str, status: int, *, has_target: bool
) -> Response:
    site, visitor = site_of(request), visitor_of(request)
    value: dict[str, Any] = {
        "title": f"Copy or move {plan.path}",
        "cluster": plan.source.name,
        **plan.fields,
        "to": plan.goal.name,
        "count": None,
        "czxid": None,
        "problem": "",
        "error": error,
        "_options": plan.options,
        "_fields": plan.fields,
        "_goal": plan.goal,
        "_cluster": plan.source,
    }
    async with site.connection(plan.source, visitor) as origin:
        stat = await origin.client.exists(plan.path)
        if stat is None:
            raise NoNodeError(plan.kind, plan.path)
        value["czxid"] = stat.czxid
        if has_target:
            value["count"] = await count_of(origin.client, plan.path)
            async with site.connection(plan.goal, visitor) as goal:
                value |= await target_values(goal.client, plan.target, plan.options)
    if value["count"] is not None and not value["problem"]:
        is_same = plan.goal == plan.source
        if is_same and is_inside(plan.target, plan.path):
            value["problem"] = f"{plan.target} is inside {plan.path}: choose another target."
    return answer(request, "transfer.html", value, status)


async def target_values(client: AsyncClient, target: str, options: Options) -> dict[str, Any]:
    """Return what is at a target now, and what prevents that something is written there."""
    stat = await client.exists(target)
    parent = paths.parent_of(target)
    if stat is not None:
        count = await count_of(client, target)
        is_only_root = target == paths.ROOT
        problem = ""
        if not options.replaces and not is_only_root:
            problem = f"{target} exists already: choose another target, or overwrite it."
        return {"target_count": count, "problem": problem}
    if await client.exists(parent) is None:
        return {"target_count": 0, "problem": f"{parent} does not exist: create it first."}
    return {"target_count": 0, "problem": ""}


async def _start(request: Request, form: Form) -> Response:
    site, visitor, plan = site_of(request), visitor_of(request), _plan_in(request, form)
    czxid = number_in(form, "czxid")
    async with site.connection(plan.source, visitor) as connection:
        stat = await connection.client.exists(plan.path)
        if stat is None:
            raise NoNodeError(plan.kind, plan.path)
        total = await count_of(connection.client, plan.path)
    if stat.czxid != czxid:
        error = f"{plan.path} was deleted and created again. Nothing was done. Check it again."
        return await _ask(request, plan, error, 409, has_target=True)

    async def work(handle: Handle) -> Mapping[str, Any]:
        with audited(
            visitor,
            plan.source.name,
            plan.kind,
            plan.path,
            to=plan.goal.name,
            target=plan.target,
            **dataclasses.asdict(plan.options),
        ) as record:
            source = f"{plan.path} in {plan.source.name}"
            report = Report(handle, record, source, f"{plan.target} in {plan.goal.name}")
            with report.told():
                async with (
                    site.connection(plan.source, visitor) as origin,
                    site.connection(plan.goal, visitor) as goal,
                ):
                    await _transfer(plan, origin.client, goal.client, report)
        return {}

    verb = {"copy": "Copy", "move": "Move"}[plan.kind]
    found = site.operations.start(
        visitor,
        _KINDS[plan.kind],
        cluster=plan.source.name,
        path=plan.path,
        title=f"{verb} {plan.path} to {plan.target} in {plan.goal.name}",
        work=work,
        total=None if total is None else total * (2 if plan.kind == "move" else 1),
        facts=plan.fields,
        end_url=cluster_url(request, "tree", {"path": plan.target}, plan.goal),
    )
    return started(request, found)


async def _transfer(plan: _Plan, origin: AsyncClient, goal: AsyncClient, report: Report) -> None:
    options = plan.options
    if plan.kind == "move":
        await origin.move_subtree(
            plan.path,
            plan.target,
            to=goal,
            with_acl=options.with_acl,
            keeps_ephemerals=options.keeps_ephemerals,
            progress=report.note,
        )
    else:
        await origin.copy_subtree(
            plan.path,
            plan.target,
            to=goal,
            replaces=options.replaces,
            with_acl=options.with_acl,
            keeps_ephemerals=options.keeps_ephemerals,
            progress=report.note,
        )


def routes() -> list[Route]:
    """Return the routes of this module."""
    return [
        page("/c/{cluster}/transfer", _show, "transfer"),
        posting("/c/{cluster}/transfer", _start, "do-transfer", changes=True),
    ]
