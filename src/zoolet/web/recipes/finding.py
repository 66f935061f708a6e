"""Searches a subtree and reads the recipes that it has: the first holder and the first waiter.

Invariants: it reads a few recipes at a time; a recipe that ends meanwhile is left out, and one that
cannot be read is reported.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from zoolet.client import NoAuthError, NoNodeError
from zoolet.web.clusters.clients import Connection
from zoolet.web.clusters.lists import ChildLists, TooManyChildrenError
from zoolet.web.recipes.reading import RecipeReader
from zoolet.web.recipes.recipe import Recipe
from zoolet.web.recipes.searching import Search, search_recipes

FEW_MEMBERS: Final = 4
"""Members of each recipe that a search reads."""

_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found.

    Attributes:
        recipes: the recipes: first those on which most clients wait for the longest time.
        problems: paths that could not be read, and why.
    """

    recipes: tuple[Recipe, ...]
    problems: tuple[tuple[str, str], ...]


async def find_recipes(
    connection: Connection,
    lists: ChildLists,
    search: Search,
    progress: Callable[[Search], None] = lambda _: None,
) -> Found:
    """Search and read; ``progress`` is called after each step.

    Raises:
        NoNodeError: the znode where the search begins does not exist.
    """
    reader = RecipeReader(connection, lists)
    gate = asyncio.Semaphore(_AT_ONCE)
    recipes: list[Recipe] = []
    problems: list[tuple[str, str]] = []

    async def confirm(path: str) -> bool:
        try:
            async with gate:
                found = await reader.read(path, at_most=FEW_MEMBERS)
        except NoNodeError:
            return False
        except (NoAuthError, TooManyChildrenError) as error:
            problems.append((path, str(error)))
            return True
        if found is not None:
            recipes.append(found)
        return found is not None

    async for _ in search_recipes(connection.client, search, confirm):
        progress(search)
    return Found(tuple(sorted(recipes, key=_urgency)), tuple(problems))


def _urgency(recipe: Recipe) -> tuple[bool, int, str]:
    """Return what to sort by: recipes with waiting clients, then the age of the first holder."""
    asked_ms = min((holder.asked_ms for holder in recipe.holders), default=1 << 63)
    is_stuck = bool(recipe.num_waiting and recipe.num_holding)
    return not is_stuck, asked_ms, recipe.path
