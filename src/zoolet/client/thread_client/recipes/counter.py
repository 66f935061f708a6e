"""A number that many clients change.

Made by `release.client_methods` from `asyncio_client/recipes/counter.py`: change that module.
"""

from typing import Final, Generic, TypeVar

from zoolet.client.thread_client.primitives import Deadline
from zoolet.client.thread_client.recipes.once import Once
from zoolet.client.thread_client.recipes.tools import Tools
from zoolet.client.errors import BadVersionError, NoNodeError
from zoolet.client.protocol.batches import Multi

N = TypeVar("N", int, float)

_SHOWN_BYTES: Final = 40


class Counter(Generic[N]):
    """A number in a znode, which ``client.counter(path)`` makes: an int, or a float.

    Guarantees: `add` changes the number exactly once, also if replies are lost or the session
    expires. Concurrent changes of other clients are never lost.

    Not guaranteed: if `add` raises DeadlineError or is cancelled, the change may have been applied.

    Layout: that of kazoo's ``Counter``: the data of PATH are the number as ASCII text, and no data
    are the default. Changes of kazoo and of zoolet add up. kazoo's ``support_curator`` is not
    supported. The change needs two requests: see `once.py`; its markers are below PATH-__once__.
    """

    def __init__(self, tools: Tools, path: str, default: N) -> None:
        """Make a counter; a program calls ``client.counter`` instead."""
        self._tools = tools
        self._path = path
        self._default: N = default
        self._once = Once(tools, path)

    def value(self, *, timeout_s: float | None = None) -> N:
        """Return the number; the default if there is none.

        ``timeout_s`` is the longest wait for the server, in seconds; None is no limit.

        Raises:
            ValueError: the data of the znode are no number.
        """
        return (self._read(Deadline(timeout_s, "counter", self._path)))[0]

    def add(self, amount: N, *, timeout_s: float | None = None) -> N:
        """Add an amount, which may be negative; return the sum.

        ``timeout_s`` is the longest wait for the server, in seconds; None is no limit.

        Raises:
            TypeError: a float is added to a number whose default is an int.
            ValueError: the data of the znode are no number.
            DeadlineError: the time is over; the amount may have been added.
        """
        if isinstance(self._default, int) and not isinstance(amount, int):
            raise TypeError(f"the counter {self._path} has whole numbers, not {amount!r}")
        deadline = Deadline(timeout_s, "counter", self._path)
        while True:
            value, version = self._read(deadline)
            if version < 0:
                self._tools.ensure_path(self._path, deadline)
                continue
            total = value + amount
            batch = Multi().set(self._path, repr(total).encode(), version=version)
            try:
                self._once.apply(batch, deadline)
            except (BadVersionError, NoNodeError):
                continue
            return total

    def _read(self, deadline: Deadline) -> tuple[N, int]:
        """Return the number and the version of the znode, which is -1 if it does not exist."""
        make = self._tools.make
        try:
            read = self._tools.run(lambda: make.get(self._path), deadline)
        except NoNodeError:
            return self._default, -1
        data = read.data
        if not data:
            return self._default, read.stat.version
        try:
            return type(self._default)(data.decode()), read.stat.version
        except ValueError:
            shown = data[:_SHOWN_BYTES]
            raise ValueError(f"the data of {self._path} are no number: {shown!r}") from None
