"""The guard: which passwords it checks."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import WAIT_S
from zoolet.passwords import hashes
from zoolet.passwords.hashes import hash_of
from zoolet.server.common.stats import ServerStats
from zoolet.server.operator.guard import guard_of
from zoolet.server.operator.http import Exchange, Request, Response, Upload
from zoolet.server.operator.roles import Role

LOGINS = 30


class Answered(Exchange):
    """Keeps the status of the answer."""

    def __init__(self) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def respond(self, response: Response) -> None:
        self.status.set_result(response.status)

    def go_on(self) -> None:
        """No body."""


@pytest.mark.parametrize("how", ["disconnected", "stopping"])
def test_passwords_of_clients_that_are_gone_are_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Each hash takes 0.1 s or more: a server that stops must not wait for many of them."""
    path = tmp_path / "users"
    path.write_text(f"full password ops {hash_of('right')}\n")
    _, guard = guard_of(path, 0, ServerStats(), lambda: 0)
    computed: list[str] = []
    real = hashes._scrypt

    def counted(password: str, *arguments: Any) -> bytes:
        computed.append(password)
        return real(password, *arguments)

    monkeypatch.setattr(hashes, "_scrypt", counted)

    def page(_request: Request, exchange: Exchange) -> Upload | None:
        raise AssertionError(exchange)

    async def case() -> None:
        check = guard.guarded(page, lambda _: Role.FULL)
        waiting = []
        for _ in range(LOGINS):
            value = base64.b64encode(b"ops:wrong").decode()
            request = Request("GET", "/", {}, {"authorization": f"Basic {value}"}, "127.0.0.1")
            waiting.append(check(request, Answered()))
        if how == "disconnected":
            for each in waiting:
                assert each is not None
                each.cancel()
            last = Answered()
            check(request, last)
            assert await asyncio.wait_for(last.status, WAIT_S) == 401
        guard.close()

    asyncio.run(case())
    assert len(computed) <= 3
