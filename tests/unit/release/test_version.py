"""A release changes the version everywhere, or nothing."""

import subprocess
from datetime import date
from pathlib import Path

import pytest

from release.version import (
    CHANGELOG,
    IMAGE_TAGS,
    PACKAGE,
    REPORTED,
    ROOT,
    ReleaseError,
    main,
    read_version,
    release,
)

TODAY = date(2027, 1, 31)


def git(root: Path, *arguments: str) -> str:
    completed = subprocess.run(
        ["git", *arguments], cwd=root, check=True, capture_output=True, text=True
    )
    return completed.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with the real files that a release changes."""
    for path in (PACKAGE, REPORTED, CHANGELOG, *IMAGE_TAGS):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text((ROOT / path).read_text())
    (tmp_path / CHANGELOG).write_text(
        "# Changelog\n\n## Unreleased\n\n- New.\n\n## 0.0.9\n\n- Old.\n"
    )
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    git(tmp_path, "config", "user.name", "A maintainer")
    git(tmp_path, "config", "user.email", "maintainer@example.org")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=Begin")
    return tmp_path


def test_a_release_sets_the_version_and_closes_the_section(checkout: Path) -> None:
    assert release(checkout, "7.8.9", TODAY) == "v7.8.9"
    assert read_version(checkout) == "7.8.9"
    assert 'BUILT_ON = "2027-01-31 00:00 UTC"\n' in (checkout / REPORTED).read_text()
    for path, form in IMAGE_TAGS.items():
        text = (checkout / path).read_text()
        assert form.format("7.8.9") in text
        assert text == (ROOT / path).read_text().replace(read_version(), "7.8.9")
    assert (checkout / CHANGELOG).read_text() == (
        "# Changelog\n\n## Unreleased\n\n## 7.8.9 (2027-01-31)\n\n- New.\n\n## 0.0.9\n\n- Old.\n"
    )
    assert git(checkout, "status", "--porcelain") == ""
    assert git(checkout, "tag", "--points-at", "HEAD") == "v7.8.9"
    assert git(checkout, "log", "--format=%s") == "Release 7.8.9\nBegin"


def test_a_second_release_needs_entries(checkout: Path) -> None:
    release(checkout, "7.8.9", TODAY)
    with pytest.raises(ReleaseError, match="no entries below"):
        release(checkout, "7.9.0", TODAY)


@pytest.mark.parametrize("version", ["", "1", "1.2", "v1.2.3", "1.2.3rc1", "0.0.1", read_version()])
def test_a_wrong_version_changes_nothing(checkout: Path, version: str) -> None:
    before = git(checkout, "rev-parse", "HEAD")
    with pytest.raises(ReleaseError):
        release(checkout, version, TODAY)
    assert git(checkout, "rev-parse", "HEAD") == before
    assert git(checkout, "status", "--porcelain") == git(checkout, "tag", "--list") == ""


def test_a_changed_checkout_is_refused(checkout: Path) -> None:
    (checkout / "new").touch()
    with pytest.raises(ReleaseError, match="the checkout has changes"):
        release(checkout, "7.8.9", TODAY)
    assert (checkout / "new").exists()


def test_a_tag_that_cannot_be_created_undoes_the_commit(checkout: Path) -> None:
    # git cannot create the tag v7.8.9 beside the tag v7.8.9/x.
    git(checkout, "tag", "v7.8.9/x")
    before = git(checkout, "rev-parse", "HEAD")
    with pytest.raises(ReleaseError, match="git tag"):
        release(checkout, "7.8.9", TODAY)
    assert git(checkout, "rev-parse", "HEAD") == before
    assert read_version(checkout) == read_version()


def test_the_command_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([""]) == 2
    assert "make release VERSION=1.2.3" in capsys.readouterr().err
    assert main(["1"]) == 1
    assert "'1' is not a version: write three numbers" in capsys.readouterr().err
