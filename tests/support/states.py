"""The states that a kazoo client goes through, for a test that waits for one."""

import threading
from typing import Any

from tests.support.waiting import WAIT_S


class States:
    """Remembers every state of a client from now on."""

    def __init__(self, client: Any) -> None:
        self.seen: list[str] = []
        self._changed = threading.Condition()
        client.add_listener(self._note)

    def wait_for(self, *states: str) -> None:
        """Return once the client has been in these states, in this order."""
        with self._changed:
            reached = self._changed.wait_for(lambda: self._holds(states), WAIT_S)
        assert reached, f"the client was {self.seen}, not {list(states)} in {WAIT_S} s"

    def _note(self, state: str) -> None:
        with self._changed:
            self.seen.append(state)
            self._changed.notify_all()

    def _holds(self, states: tuple[str, ...]) -> bool:
        seen = iter(self.seen)
        return all(state in seen for state in states)
