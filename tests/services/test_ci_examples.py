"""The examples for CI services are valid for the schemas of GitHub and of GitLab."""

import shlex
from pathlib import Path

import pytest

from tests.support.manifests import ROOT, load_yaml, run_tool

EXAMPLES = ROOT / "examples" / "ci"
SCHEMAS = {"github-actions.yml": "vendor.github-workflows", "gitlab-ci.yml": "vendor.gitlab-ci"}


def test_each_example_has_a_schema() -> None:
    assert {path.name for path in EXAMPLES.iterdir()} == set(SCHEMAS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_an_example_is_valid(name: str) -> None:
    run_tool("check-jsonschema", "--builtin-schema", SCHEMAS[name], EXAMPLES / name)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("github-actions.yml", "runs-on: ubuntu-latest", "run-on: ubuntu-latest"),
        ("gitlab-ci.yml", "timeout: 15 minutes", "timeout: [15]"),
    ],
)
def test_an_error_is_found(name: str, right: str, wrong: str, tmp_path: Path) -> None:
    text = (EXAMPLES / name).read_text()
    assert right in text
    copy = tmp_path / name
    copy.write_text(text.replace(right, wrong, 1))
    with pytest.raises(AssertionError, match="Schema validation errors"):
        run_tool("check-jsonschema", "--builtin-schema", SCHEMAS[name], copy)


def commands(name: str) -> list[str]:
    """Return the command lines that an example runs."""
    (example,) = load_yaml(EXAMPLES / name)
    if name.startswith("github"):
        steps = [step for job in example["jobs"].values() for step in job["steps"]]
        return [step["run"] for step in steps if "run" in step]
    return [line for job in example.values() for line in job.get("script", ())]


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_fixtures_are_installed_by_the_extra(name: str) -> None:
    words = [shlex.split(line) for line in commands(name)]
    assert any("zoolet[testing]" in line for line in words)
    assert words.count(["python", "-m", "pytest"]) == 2
