"""Files of keys for tests of signatures."""

from pathlib import Path


def write_keys(path: Path, *ids: str, secrets: dict[str, str] | None = None) -> Path:
    """Replace a file of keys by one with these ids; the secret follows from the id."""
    known = secrets or {}
    new = path.with_name(f"{path.name}.new")
    new.touch(mode=0o600)
    new.write_text("".join(f"{one} {known.get(one) or secret_of(one)}\n" for one in ids))
    new.replace(path)
    return path


def secret_of(key_id: str) -> str:
    """Return the secret of an id, as hexadecimal digits."""
    return key_id.encode().ljust(32, b".").hex()
