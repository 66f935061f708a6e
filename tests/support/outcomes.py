"""Functions that run in threads of a test, and how they ended."""

import threading
from collections.abc import Callable
from typing import Any

from tests.support.waiting import WAIT_S


class Running:
    """A function in a thread.

    Attributes:
        result: what it returned.
        error: what it raised.
    """

    def __init__(self, function: Callable[..., Any], *args: Any, **options: Any) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run, args=(function, args, options), daemon=True
        )
        self._thread.start()

    def _run(
        self, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        try:
            self.result = function(*args, **options)
        except BaseException as error:  # noqa: BLE001 -- the test looks at it
            self.error = error

    @property
    def goes_on(self) -> bool:
        """Whether it has not ended."""
        return self._thread.is_alive()

    def end(self) -> Any:
        """Wait for its end; return its result or raise its error."""
        self.wait()
        if self.error is not None:
            raise self.error
        return self.result

    def wait(self) -> BaseException | None:
        """Wait for its end; return its error, if it has one."""
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), f"the thread has not ended within {WAIT_S} s"
        return self.error


class Noted:
    """A function for watches or states that notes what it was called with."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._all: list[Any] = []

    def __call__(self, what: Any) -> None:
        with self._changed:
            self._all.append(what)
            self._changed.notify_all()

    @property
    def all(self) -> list[Any]:
        """Everything so far."""
        with self._changed:
            return list(self._all)

    def until(self, wanted: Callable[[Any], bool]) -> Any:
        """Wait for something, and return it."""

        def found() -> list[Any]:
            return [each for each in self._all if wanted(each)]

        with self._changed:
            assert self._changed.wait_for(found, WAIT_S), f"it did not come; there is {self._all}"
            return found()[0]
