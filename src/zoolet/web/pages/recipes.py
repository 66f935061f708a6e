"""Recipes: the search in a subtree, one recipe with its members, and the breaking of a lock."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoolet.client import NoNodeError
from zoolet.model import paths
from zoolet.web.access.audit import audited
from zoolet.web.clusters.clients import Connection
from zoolet.web.operations.operation import Handle, Kind
from zoolet.web.pages.answers import RefusedError, answer, done
from zoolet.web.pages.operations import started
from zoolet.web.pages.posting import (
    MOST_VERSION,
    Form,
    cluster_of,
    cluster_url,
    number_in,
    page,
    posting,
)
from zoolet.web.pages.site import Site, site_of, visitor_of
from zoolet.web.pages.times import age_text, time_text
from zoolet.web.pages.tree import path_in, tree_url
from zoolet.web.recipes.finding import Found, find_recipes
from zoolet.web.recipes.kinds import RISKS
from zoolet.web.recipes.names import ENTRIES, GATE, LEASES, LOCKS, PARTY, TAKEN
from zoolet.web.recipes.reading import RecipeReader
from zoolet.web.recipes.recipe import Member, Recipe
from zoolet.web.recipes.searching import MOST_VISITED, Search
from zoolet.web.settings import Cluster

QUICK: Final = 1000
"""Most znodes that the page visits at once; a search with progress visits more."""

MOST_SHOWN: Final = 500
"""Most recipes in one answer."""

_SEARCH: Final = Kind("search for recipes", "znodes", "recipes_found.html", "Show the recipes")
_PARTS: Final = frozenset({ENTRIES, TAKEN, LOCKS, LEASES, PARTY})


async def _recipes(request: Request) -> Response:
    """Show the recipes of a subtree, if it is small, or those of its first znodes."""
    site, cluster = site_of(request), cluster_of(request)
    path = path_in(request.query_params, missing=paths.ROOT)
    search = Search(path, QUICK)
    async with site.connection(cluster, visitor_of(request)) as connection:
        found = await find_recipes(connection, site.lists, search)
    value = {
        "title": f"Recipes - {cluster.name}",
        "cluster": cluster.name,
        "path": path,
        "result": _found_values(site, search, found),
        "_most": MOST_VISITED,
        "_cluster": cluster,
    }
    return answer(request, "recipes.html", value)


async def _search(request: Request, form: Form) -> Response:
    """Start a search with progress."""
    site, cluster, visitor = site_of(request), cluster_of(request), visitor_of(request)
    path = path_in(form, missing=paths.ROOT)

    async def work(handle: Handle) -> Mapping[str, Any]:
        search = Search(path, MOST_VISITED)

        def progress(now: Search) -> None:
            handle.progress(now.num_visited)

        async with site.connection(cluster, visitor) as connection:
            found = await find_recipes(connection, site.lists, search, progress)
        return _found_values(site, search, found)

    operation = site.operations.start(
        visitor,
        _SEARCH,
        cluster=cluster.name,
        path=path,
        title=f"Search for recipes below {path}",
        work=work,
        end_url=cluster_url(request, "recipes", {"path": path}),
    )
    return started(request, operation)


def _found_values(site: Site, search: Search, found: Found) -> dict[str, Any]:
    now_s = site.time_s()
    return {
        "recipes": [recipe_values(recipe, now_s) for recipe in found.recipes[:MOST_SHOWN]],
        "num_visited": search.num_visited,
        "most": search.most,
        "is_complete": search.is_complete,
        "num_refused": search.num_refused,
        "long": [{"path": path, "num_children": number} for path, number in search.long],
        "problems": [{"path": path, "error": error} for path, error in found.problems],
    }


async def _one(request: Request) -> Response:
    """Show one recipe."""
    site, cluster = site_of(request), cluster_of(request)
    path = path_in(request.query_params)
    async with site.connection(cluster, visitor_of(request)) as connection:
        recipe, parent = await _read(site, connection, path)
    if recipe is None:
        raise RefusedError(
            404, f"{path} is no recipe that the page knows: docs/web-recipes.md lists them"
        )
    hosts, problems = await _hosts(site, cluster, recipe.members)
    value = {
        "title": f"{recipe.title}: {path}",
        "cluster": cluster.name,
        "path": path,
        "recipe": recipe_values(recipe, site.time_s(), hosts),
        "part_of": parent,
        "problems": problems,
        "_risk": RISKS.get(recipe.kind, ""),
        "_cluster": cluster,
    }
    return answer(request, "recipe.html", value, parts={"recipe": "recipe_part.html"})


async def _read(site: Site, connection: Connection, path: str) -> tuple[Recipe | None, str]:
    """Return the recipe at a path, and the path of the recipe that it is a part of, or ""."""
    reader = RecipeReader(connection, site.lists)
    recipe = await reader.read(path)
    above, name = paths.parent_of(path), paths.name_of(path)
    parent = path.removesuffix(GATE) if path.endswith(GATE) else above if name in _PARTS else ""
    if not parent or paths.reason_invalid(parent) is not None:
        return recipe, ""
    try:
        around = await reader.read(parent, at_most=2)
    except NoNodeError:
        around = None
    return recipe, "" if around is None else parent


async def _breaking(request: Request) -> Response:
    """Ask before the znode of a holder is deleted."""
    fields = dict(request.query_params)
    return await _ask(request, fields, "", 200)


async def _ask(request: Request, fields: Form, error: str, status: int) -> Response:
    site, cluster = site_of(request), cluster_of(request)
    path, znode = path_in(fields), path_in(fields, "znode")
    async with site.connection(cluster, visitor_of(request)) as connection:
        recipe = await RecipeReader(connection, site.lists).read(path)
    holder = None if recipe is None else recipe.holder_of(znode)
    if recipe is None or holder is None or not recipe.is_breakable:
        raise RefusedError(
            409, f"{znode} holds nothing in {path} that can be broken: load the recipe again"
        )
    hosts, _ = await _hosts(site, cluster, (holder,))
    value = {
        "title": f"Break {path}",
        "cluster": cluster.name,
        "path": path,
        "recipe": recipe_values(recipe, site.time_s(), hosts),
        "holder": member_values(holder, site.time_s(), hosts),
        "error": error,
        "_risk": RISKS[recipe.kind],
        "_back": cluster_url(request, "recipes/one", {"path": path}),
        "_cluster": cluster,
    }
    return answer(request, "recipe_break.html", value, status)


async def _break(request: Request, form: Form) -> Response:
    """Delete the znode of a holder, if it is the one that the user has seen."""
    site, visitor, cluster = site_of(request), visitor_of(request), cluster_of(request)
    path, znode = path_in(form), path_in(form, "znode")
    czxid, version = number_in(form, "czxid"), number_in(form, "version", MOST_VERSION)
    with audited(visitor, cluster.name, "break", znode, recipe=path) as record:
        async with site.connection(cluster, visitor) as connection:
            recipe = await RecipeReader(connection, site.lists).read(path)
            holder = None if recipe is None else recipe.holder_of(znode)
            if recipe is not None and holder is not None and recipe.is_breakable:
                record["session"] = f"{_unsigned(holder.session):#x}"
                if (holder.czxid, holder.version) == (czxid, version):
                    await connection.client.delete(znode, version=version)
                    is_last = recipe.num_members == 1
                    one = cluster_url(request, "recipes/one", {"path": path})
                    url = tree_url(request, path) if is_last else one
                    return done(request, url, deleted=znode)
        record["result"] = "conflict"
    error = "Another client holds it now. Nothing was deleted."
    if holder is None:
        raise RefusedError(409, f"{znode} holds nothing in {path} any more. Nothing was deleted")
    return await _ask(request, form, error, 409)


async def _hosts(
    site: Site, cluster: Cluster, members: Sequence[Member]
) -> tuple[dict[int, str], list[str]]:
    """Return the addresses of the clients by session, and why some are missing."""
    ids = [_unsigned(member.session) for member in members if member.session]
    servers = [sampled.address for sampled in site.sampler.servers(cluster.name)]
    return await site.hosts.addresses(cluster.name, servers, ids)


def _unsigned(session: int) -> int:
    return session % 2**64


def recipe_values(
    recipe: Recipe, now_s: float, hosts: Mapping[int, str] | None = None
) -> dict[str, Any]:
    """Return what JSON and the templates show of a recipe; ``hosts`` are by session."""
    return {
        "path": recipe.path,
        "kind": recipe.kind.value,
        "title": recipe.title,
        "libraries": [library.value for library in recipe.libraries],
        "is_sure": recipe.is_sure,
        "is_breakable": recipe.is_breakable,
        "num_holding": recipe.num_holding,
        "num_waiting": recipe.num_waiting,
        "num_members": recipe.num_members,
        "members": [member_values(member, now_s, hosts or {}) for member in recipe.members],
        "facts": dict(recipe.facts),
        "notes": list(recipe.notes),
    }


def member_values(member: Member, now_s: float, hosts: Mapping[int, str]) -> dict[str, Any]:
    """Return what JSON and the templates show of a member; the session is text in hex, or ""."""
    asked, session = member.asked_ms, _unsigned(member.session)
    return {
        **asdict(member),
        "state": member.state.value,
        "library": member.library.value,
        "session": f"{session:#x}" if session else "",
        "host": hosts.get(session, ""),
        "name": member.name,
        "address": member.address,
        "asked": time_text(asked) if asked else "",
        "age": age_text(now_s, asked),
        "due": "" if member.due_ms is None else time_text(member.due_ms),
    }


def routes() -> list[Route]:
    """Return the routes of this module."""
    url = "/c/{cluster}/recipes"
    return [
        page(url, _recipes, "recipes"),
        posting(f"{url}/search", _search, "do-search-recipes", changes=False),
        page(f"{url}/one", _one, "recipe"),
        page(f"{url}/break", _breaking, "break"),
        posting(f"{url}/break", _break, "do-break", changes=True),
    ]
