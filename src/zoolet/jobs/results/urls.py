"""The URLs of result stores by name, as each program gets them from its own configuration.

A queue stores only the name of its result store. Invariant: a URL, which may contain a password, is
in no znode, log or message; `place_of` has what they show. This module imports
`zoolet.jobs.errors` and `zoolet.jobs.records`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from zoolet.jobs.errors import InvalidJobError, ResultRefusedError
from zoolet.jobs.records.settings import DEFAULT_STORE, is_store_name

_HOW: Final = "pass --result-store-url NAME=URL, or Dispatcher(result_stores={NAME: URL})"
_FILE_LIMIT_BYTES = 64 * 1024


class StoreUrls:
    """The URLs of result stores by name.

    Raises:
        InvalidJobError: a name is invalid, or a URL is not a text of the form scheme://...
    """

    def __init__(self, urls: Mapping[str, str] | None = None) -> None:
        found: Any = {} if urls is None else urls
        for name, url in found.items():
            if not is_store_name(name):
                raise InvalidJobError(
                    f"{name!r:.100} is not the name of a result store: use letters, digits and"
                    " . _ -"
                )
            if not isinstance(url, str) or "://" not in url:
                raise InvalidJobError(
                    f"the URL of the result store {name} is not of the form scheme://..., like"
                    " postgresql+psycopg://user@host/database"
                )
        self._urls: dict[str, str] = dict(found)

    def find(self, name: str) -> str | None:
        """Return the URL of a store; None if this program has none for it."""
        return self._urls.get(name)

    def as_dict(self) -> dict[str, str]:
        """Return the URLs by name."""
        return dict(self._urls)


def missing_url(name: str) -> ResultRefusedError:
    """Return the error of a program that has no URL for the queue's store."""
    return ResultRefusedError(
        f"the queue's result store is {name}, and this program has no URL for this name: {_HOW}"
    )


def parse_store_urls(texts: Iterable[str]) -> dict[str, str]:
    """Return the URLs of options of the form ``NAME=URL``; ``NAME=@FILE`` for a URL in a file.

    Raises:
        InvalidJobError: a text does not have this form, or the file cannot be read. The message
            does not have the URL.
    """
    found: dict[str, str] = {}
    for number, text in enumerate(texts, 1):
        name, equals, url = text.partition("=")
        if not equals or not is_store_name(name):
            raise InvalidJobError(
                f"result store {number} is not of the form NAME=URL, like"
                f" {DEFAULT_STORE}=sqlite:////var/lib/zoolet/results.db"
            )
        found[name] = _read(name, Path(url[1:])) if url.startswith("@") else url
    return StoreUrls(found).as_dict()


def _read(name: str, path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_FILE_LIMIT_BYTES).strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidJobError(
            f"the file {path} with the URL of the result store {name} cannot be read: {reason}"
        ) from None
