"""How `make image` reads a Dockerfile, and what is in the Dockerfile of the image."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from zoolet.server.cli.container import GROUP_ID, START, USER_ID, VARIABLES, zoo_cfg_text
from zoolet.server.cli.environment import Environment
from zoolet.server.zoo_cfg.reading import parse_config

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "packaging" / "container"
COMPOSE = ROOT / "examples" / "compose.yaml"


def load(name: str) -> ModuleType:
    """Return a module of the folder, which is no package."""
    spec = importlib.util.spec_from_file_location(f"container_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


dockerfile: Any = load("dockerfile")


def configured(*lines: str, **arguments: str) -> dict[str, Any]:
    """Return the configuration of an image with these instructions."""
    config = dockerfile.EMPTY._replace(arguments=arguments)
    stage = dockerfile.parse("\n".join(("FROM base AS a", *lines))).stages[0]
    for instruction in stage.instructions:
        config = dockerfile.configured(config, instruction)
    found: dict[str, Any] = config.as_json()
    return found


# --- Parsing


def test_lines_are_joined_and_comments_are_removed() -> None:
    text = "# a\nARG A=1\nFROM b:${A} AS c\n\nRUN one \\\n# in between\n  && two\n\nrun three\n"
    parsed = dockerfile.parse(text)
    assert parsed.arguments == {"A": "1"}
    (stage,) = parsed.stages
    assert (stage.base, stage.name) == ("b:${A}", "c")
    commands = [(each.keyword, each.text.split(), each.line) for each in stage.instructions]
    assert commands == [("RUN", ["one", "&&", "two"], 5), ("RUN", ["three"], 9)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("RUN a", "line 1: RUN is not supported here"),
        ("FROM a AS b\nADD a b", "line 2: ADD is not supported here"),
        ("FROM a AS b\nRUN a \\", "line 2: the instruction does not end"),
        ("FROM --platform=x a AS b", "line 1: unknown form of FROM"),
    ],
)
def test_what_is_not_known_is_refused(text: str, said: str) -> None:
    with pytest.raises(dockerfile.DockerfileError, match=re.escape(said)):
        dockerfile.parse(text)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("CMD zkServer.sh start", "CMD: "),
        ("ENTRYPOINT [1]", "write the command as a JSON array"),
        ("HEALTHCHECK --interval=1m CMD []", "--interval=1m is not supported"),
        ("HEALTHCHECK NONE", "write CMD and a JSON array"),
        ("ENV a b", "write NAME=VALUE"),
    ],
)
def test_a_malformed_instruction_is_refused(line: str, said: str) -> None:
    with pytest.raises(dockerfile.DockerfileError, match=f"^line 2: .*{re.escape(said)}"):
        configured(line)


def test_a_copy_with_an_unknown_option_is_refused() -> None:
    (stage,) = dockerfile.parse("FROM a AS b\nCOPY --chown=1 c d").stages
    with pytest.raises(dockerfile.DockerfileError, match="COPY --chown is not supported"):
        dockerfile.copy_step(stage.instructions[0])


def test_the_stages_that_a_target_needs() -> None:
    text = "FROM x AS a\nFROM a AS b\nFROM x AS c\nCOPY --from=b /1 /2\nFROM c AS d\nFROM a AS e\n"
    parsed = dockerfile.parse(text)
    names = {
        target: "".join(stage.name for stage in dockerfile.needed_stages(parsed, target))
        for target in "abcde"
    }
    assert names == {"a": "a", "b": "ab", "c": "abc", "d": "abcd", "e": "ae"}
    with pytest.raises(dockerfile.DockerfileError, match="no stage has the name f"):
        dockerfile.needed_stages(parsed, "f")


def test_the_configuration_of_an_image() -> None:
    found = configured(
        "ARG V=0",
        "ENV A=1 B='two words'",
        "ENV C=$A-${B}",
        'LABEL x.v="${V}" y=z',
        "LABEL y=y",
        "EXPOSE 1 2",
        "USER 5:6",
        "WORKDIR /w",
        'VOLUME ["/a", "/b"]',
        'HEALTHCHECK --interval=3s --retries=2 CMD ["h"]',
        'CMD ["lost"]',
        'ENTRYPOINT ["e"]',
        'CMD ["c", "d"]',
        V="7",
    )
    assert found == {
        "Env": ["A=1", "B=two words", "C=1-two words"],
        "Labels": {"x.v": "7", "y": "y"},
        "ExposedPorts": {"1/tcp": {}, "2/tcp": {}},
        "User": "5:6",
        "WorkingDir": "/w",
        "Volumes": {"/a": {}, "/b": {}},
        "Healthcheck": {"Interval": 3_000_000_000, "Retries": 2, "Test": ["CMD", "h"]},
        "Entrypoint": ["e"],
        "Cmd": ["c", "d"],
    }


def test_names_that_are_not_copied() -> None:
    ignored = dockerfile.Ignored(["# a", "", ".git", "a/b", "**/*.so", "**/__pycache__"])
    for path in (".git", ".git/x", "a/b", "a/b/c", "x/y.so", "y.so", "x/__pycache__/z"):
        assert ignored.has(path), path
    for path in ("a", "a/c", "git", "x/y.so.py", "x/.git"):
        assert not ignored.has(path), path
    with pytest.raises(dockerfile.DockerfileError, match="!b is not supported"):
        dockerfile.Ignored(["!b"])


# --- The Dockerfile of the image


@pytest.fixture
def image() -> dict[str, Any]:
    """The configuration of the image, without its base."""
    parsed = dockerfile.parse((FOLDER / "Dockerfile").read_text())
    config = dockerfile.EMPTY
    for stage in dockerfile.needed_stages(parsed, "nonroot"):
        if stage.name != "build":
            for instruction in stage.instructions:
                config = dockerfile.configured(config, instruction)
    found: dict[str, Any] = config.as_json()
    return found


def test_the_image_is_that_of_the_entry_point(image: dict[str, Any]) -> None:
    variables = dict(entry.split("=", 1) for entry in image["Env"])
    defaults = {variable.name: variable.default for variable in VARIABLES}
    named = {name: value for name, value in variables.items() if name.startswith("ZOO_")}
    assert named == {name: defaults[name] for name in defaults if name.endswith("_DIR")}
    assert variables["ZOOCFGDIR"] == defaults["ZOO_CONF_DIR"]
    assert image["Cmd"] == list(START)
    assert set(image["Volumes"]) == {"/data", "/datalog", "/logs"}
    assert image["User"] == f"{USER_ID}:{GROUP_ID}"
    assert image["Healthcheck"]["Test"][-1] == "zoolet.server.cli.container_health"
    text = (FOLDER / "Dockerfile").read_text()
    assert f"--gid {GROUP_ID} " in text
    assert f"--uid {USER_ID} " in text
    assert "zoolet.server.cli.container " in (FOLDER / "docker-entrypoint.sh").read_text()


def test_the_target_is_the_last_stage_and_starts_as_root() -> None:
    parsed = dockerfile.parse((FOLDER / "Dockerfile").read_text())
    assert parsed.stages[-1].name == "zoolet"
    stages = dockerfile.needed_stages(parsed, "zoolet")
    assert "USER" not in {each.keyword for stage in stages for each in stage.instructions}


def test_what_the_build_copies_exists() -> None:
    parsed = dockerfile.parse((FOLDER / "Dockerfile").read_text())
    steps = [
        dockerfile.copy_step(instruction)
        for stage in parsed.stages
        for instruction in stage.instructions
        if instruction.keyword == "COPY"
    ]
    sources = [source for step in steps if not step.stage for source in step.sources]
    assert "src" in sources
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_the_labels_are_complete(image: dict[str, Any]) -> None:
    labels = {name.removeprefix("org.opencontainers.image.") for name in image["Labels"]}
    assert labels == {"title", "description", "licenses", "version", "revision"}
    assert json.loads(json.dumps(image)) == image


# --- The compose file


def test_the_compose_file_is_one_server_for_both_images() -> None:
    yaml: Any = pytest.importorskip("yaml", reason="reading a compose file takes PyYAML")
    service = yaml.safe_load(COMPOSE.read_text())["services"]["zookeeper"]
    assert service["image"] == "zoolet"
    names = {variable.name for variable in VARIABLES}
    environment = service["environment"]
    assert set(environment) <= {*names, "JVMFLAGS"}
    flags = Environment.read(environment).flags
    config = parse_config(zoo_cfg_text(environment), Path("zoo.cfg"), flags.properties)
    assert (config.max_session_timeout_ms, config.rules.allows_ttl) == (60_000, True)
    assert (config.warnings, flags.ignored) == ((), ())
    assert {volume.split(":")[1] for volume in service["volumes"]} == {"/data", "/datalog"}
    assert service["healthcheck"]["test"] == ["CMD", "zkServer.sh", "status"]
