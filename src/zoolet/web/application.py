"""The ASGI application: all routes behind the guard, and the work at its start and its end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.staticfiles import StaticFiles

from zoolet.web.access.guard import Guard
from zoolet.web.access.users import UsersFile
from zoolet.web.pages import (
    changing,
    entering,
    files,
    history,
    live,
    operations,
    quotas,
    recipes,
    search,
    servers,
    sessions,
    top,
    transfers,
    tree,
)
from zoolet.web.pages.answers import RefusedError, error_page, load_templates
from zoolet.web.pages.jobs import (
    batches,
    changes,
    failures,
    graphs,
    job,
    listing,
    queues,
    schedules,
    workers,
)
from zoolet.web.pages.jobs import history as history_of_jobs
from zoolet.web.pages.site import Site, site_of
from zoolet.web.settings import WebSettings

_STATIC: Final = Path(__file__).parent / "static"
_SWEEP_S: Final = 60.0
_PARTS: Final = (
    entering,
    tree,
    changing,
    live,
    history,
    operations,
    search,
    transfers,
    files,
    recipes,
    servers,
    sessions,
    quotas,
    top,
    queues,
    listing,
    job,
    failures,
    batches,
    workers,
    schedules,
    graphs,
    history_of_jobs,
    changes,
)
"""The modules of pages."""


def application(settings: WebSettings, on_start: Callable[[], None] | None = None) -> Starlette:
    """Return the application; ``on_start`` is called when it accepts requests.

    Raises:
        UsersError: the file of users cannot be used.
    """
    site = Site(settings, UsersFile(settings.users_file))
    load_templates()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        sweeper = asyncio.create_task(_sweep(site))
        site.start()
        try:
            if on_start is not None:
                on_start()
            yield
        finally:
            sweeper.cancel()
            await site.close()

    routes: list[BaseRoute] = []
    for part in _PARTS:
        routes += part.routes()
    routes.append(Mount("/static", StaticFiles(directory=_STATIC), name="static"))
    if settings.base_path:
        start = Route(settings.base_path, _to_start, methods=["GET"])
        routes = [start, Mount(settings.base_path, Router(routes, redirect_slashes=False))]
    guard = Middleware(
        Guard, settings=settings, users=site.users, logins=site.logins, now_s=site.now_s
    )
    app = Starlette(
        routes=routes,
        middleware=[guard],
        lifespan=lifespan,
        exception_handlers={HTTPException: _http_error},
    )
    app.router.redirect_slashes = False  # it would name a scheme and a host
    app.state.site = site
    return app


async def _to_start(request: Request) -> Response:
    """Lead from the base path without its last slash to the first page."""
    return RedirectResponse(f"{site_of(request).settings.base_path}/", status_code=307)


async def _http_error(request: Request, error: Exception) -> Response:
    """Explain an unknown URL or method."""
    if not isinstance(error, HTTPException):
        raise error
    text = {404: "there is no page at this URL", 405: "this URL does not have this method"}
    message = text.get(error.status_code, error.detail)
    return error_page(request, RefusedError(error.status_code, message))


async def _sweep(site: Site) -> None:
    """End what nobody uses, until the application ends."""
    while True:
        await asyncio.sleep(_SWEEP_S)
        site.end_idle()
