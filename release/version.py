"""The version of zoolet: where it is defined, and how a release changes it.

Usage: ``python -m release.version VERSION`` (``make release VERSION=X``). It sets the version,
closes the changelog's section, commits, and creates the tag. Nothing is changed if a check fails.
"""

import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = Path("src/zoolet/__init__.py")
"""Defines the version, as ``__version__``."""

REPORTED = Path("src/zoolet/server/operator/version.py")
"""Defines the release date that the server reports, as ``BUILT_ON``."""

CHANGELOG = Path("CHANGELOG.md")

IMAGE_TAGS = {
    Path("packaging/kubernetes/kustomization.yaml"): 'newTag: "{}"',
    Path("examples/ci/github-actions.yml"): "image: zoolet:{} ",
    Path("examples/ci/gitlab-ci.yml"): "name: zoolet:{} ",
}
"""The files that name the version of the container image, and how each of them does."""

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_DEFINITION = re.compile(r'^__version__ = "(.*)"$', re.MULTILINE)
_BUILT_ON = re.compile(r'^BUILT_ON = ".*"$', re.MULTILINE)
_UNRELEASED = "## Unreleased\n"


class ReleaseError(Exception):
    """The release cannot be made; the message says what to do."""


def read_version(root: Path = ROOT) -> str:
    """Return the version of the checkout."""
    found = _DEFINITION.search((root / PACKAGE).read_text())
    if found is None:
        raise ReleaseError(f'{PACKAGE} has no line __version__ = "..."')
    return found[1]


def changed_files(root: Path, version: str, today: date) -> Mapping[Path, str]:
    """Return the new texts of the files that a release changes.

    Raises:
        ReleaseError: the version is malformed or not later than the current one, the changelog has
            no entries below "Unreleased", or a file does not name the current version.
    """
    current = read_version(root)
    if _numbers(version) <= _numbers(current):
        raise ReleaseError(f"{version} is not later than the current version {current}")
    changelog = (root / CHANGELOG).read_text()
    _, heading, after = changelog.partition(_UNRELEASED)
    entries = after.partition("\n## ")[0]
    if not heading or not entries.strip():
        raise ReleaseError(f'{CHANGELOG} has no entries below "{_UNRELEASED.strip()}"')
    closed = f"{_UNRELEASED}\n## {version} ({today.isoformat()})\n"
    package, reported = (root / PACKAGE).read_text(), (root / REPORTED).read_text()
    built_on = f'BUILT_ON = "{today.isoformat()} 00:00 UTC"'
    return {
        PACKAGE: _DEFINITION.sub(f'__version__ = "{version}"', package),
        REPORTED: _BUILT_ON.sub(built_on, reported),
        CHANGELOG: changelog.replace(_UNRELEASED, closed, 1),
        **{
            path: _with_tag(root / path, form.format(current), form.format(version))
            for path, form in IMAGE_TAGS.items()
        },
    }


def _with_tag(path: Path, before: str, now: str) -> str:
    text = path.read_text()
    if text.count(before) != 1:
        raise ReleaseError(f"{path} must contain {before!r} once")
    return text.replace(before, now)


def release(root: Path, version: str, today: date) -> str:
    """Change the files, commit them and create the tag; return the name of the tag.

    Raises:
        ReleaseError: a check failed, or git refused the commit or the tag; the files are as before.
    """
    tag = f"v{version}"
    texts = changed_files(root, version, today)
    if _git(root, "status", "--porcelain"):
        raise ReleaseError("the checkout has changes: commit or remove them first")
    if _git(root, "tag", "--list", tag):
        raise ReleaseError(f"the tag {tag} exists already")
    head = _git(root, "rev-parse", "HEAD")
    try:
        for path, text in texts.items():
            (root / path).write_text(text)
        _git(root, "commit", "--quiet", "--message", f"Release {version}", *map(str, texts))
        _git(root, "tag", "--annotate", "--message", f"zoolet {version}", tag)
    except (OSError, ReleaseError):
        _git(root, "reset", "--quiet", "--hard", head)
        raise
    return tag


def _numbers(version: str) -> tuple[int, ...]:
    found = _VERSION.fullmatch(version)
    if found is None:
        raise ReleaseError(f"{version!r} is not a version: write three numbers, like 1.2.3")
    return tuple(map(int, found.groups()))


def _git(root: Path, *arguments: str) -> str:
    completed = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    if completed.returncode:
        raise ReleaseError(f"git {arguments[0]}: {completed.stderr.strip()}")
    return completed.stdout.strip()


def main(arguments: list[str]) -> int:
    """Make the release that the command line names; return the exit status."""
    if len(arguments) != 1 or not arguments[0]:
        print("Name the version: make release VERSION=1.2.3", file=sys.stderr)
        return 2
    try:
        tag = release(ROOT, arguments[0], datetime.now(UTC).date())
    except (OSError, ReleaseError) as error:
        print(f"No release was made: {error}.", file=sys.stderr)
        return 1
    print(f"Created the commit and the tag {tag}. Publish them: git push origin main {tag}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
