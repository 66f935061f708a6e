"""No test of this folder waits for the disk: none takes the power from the machine."""

import pytest


@pytest.fixture(autouse=True)
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the syncs of files and directories do nothing."""
    for name in ("sync", "sync_data"):
        monkeypatch.setattr(f"zoolet.storage.system_calls.{name}", lambda _: None)
