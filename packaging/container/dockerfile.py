"""Reads a Dockerfile: its stages, their instructions, and the image configuration that they make.

This module knows only the instructions and options that this project's Dockerfile uses. It reports
every other one, so a step is never left out silently. It does no I/O; ``build_rootfs`` executes the
instructions. Source: the Dockerfile reference of Docker, and the OCI image specification.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

KEYWORDS: Final = frozenset(
    {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE"}
    | {"HEALTHCHECK", "LABEL", "RUN", "USER", "VOLUME", "WORKDIR"}
)
_NANOSECONDS: Final = 1_000_000_000
_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_HEALTH_OPTIONS: Final = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
}


class DockerfileError(Exception):
    """The file has an instruction that this module does not know, or a malformed one."""


class Instruction(NamedTuple):
    """One instruction: its keyword in upper case, its text, and the number of its first line."""

    keyword: str
    text: str
    line: int


class Stage(NamedTuple):
    """A stage of the build.

    Attributes:
        base: the image or the earlier stage that the stage begins with, with variables.
        name: the name of the stage; "" if it has none.
        instructions: the instructions after ``FROM``.
    """

    base: str
    name: str
    instructions: tuple[Instruction, ...]


class Dockerfile(NamedTuple):
    """The arguments before the first stage with their defaults, and the stages in their order."""

    arguments: Mapping[str, str]
    stages: tuple[Stage, ...]


class CopyStep(NamedTuple):
    """A ``COPY``: the stage that it copies from ("" for the context), its sources, its target."""

    stage: str
    sources: tuple[str, ...]
    target: str


class ImageConfig(NamedTuple):
    """The configuration of an image, which grows with each instruction.

    Attributes:
        values: the field ``config`` of the OCI image specification; ``Env`` has one text for each
            variable there.
        env: the environment variables.
        arguments: the arguments of the build, which are not part of the image.
    """

    values: Mapping[str, object]
    env: Mapping[str, str]
    arguments: Mapping[str, str]

    def expanded(self, text: str) -> str:
        """Return a text with the values of ``$NAME`` and ``${NAME}``; "" for unknown names."""
        known = {**self.arguments, **self.env}
        return _VARIABLE.sub(lambda found: known.get(found[1] or found[2], ""), text)

    def as_json(self) -> dict[str, object]:
        """Return the field ``config`` of the OCI image specification."""
        found = {name: value for name, value in self.values.items() if value is not None}
        return {**found, "Env": [f"{name}={value}" for name, value in self.env.items()]}


EMPTY: Final = ImageConfig({}, {}, {})


# --- Parsing


def parse(text: str) -> Dockerfile:
    """Return the stages of a Dockerfile; raises DockerfileError."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for instruction in _instructions(text):
        keyword, rest, line = instruction
        if keyword == "FROM":
            words = rest.split()
            is_named = len(words) == 3 and words[1].upper() == "AS"
            if not is_named and len(words) != 1:
                raise DockerfileError(f"line {line}: unknown form of FROM: {rest}")
            stages.append(Stage(words[0], words[2] if is_named else "", ()))
        elif not stages and keyword == "ARG":
            name, _, default = rest.partition("=")
            arguments[name] = default
        elif not stages or keyword not in KEYWORDS:
            raise DockerfileError(f"line {line}: {keyword} is not supported here")
        else:
            last = stages[-1]
            stages[-1] = last._replace(instructions=(*last.instructions, instruction))
    return Dockerfile(arguments, tuple(stages))


def _instructions(text: str) -> Iterator[Instruction]:
    """Yield the instructions; lines that continue are joined, and comments are removed."""
    begun, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or not (line.strip() or begun):
            continue
        first = first if begun else number
        if line.endswith("\\"):
            begun += line[:-1] + " "
            continue
        keyword, _, rest = (begun + line).strip().partition(" ")
        yield Instruction(keyword.upper(), rest.strip(), first)
        begun = ""
    if begun:
        raise DockerfileError(f"line {first}: the instruction does not end")


def needed_stages(dockerfile: Dockerfile, target: str) -> list[Stage]:
    """Return the stages that a target needs, in their order, the target last.

    Raises DockerfileError if no stage has the name.
    """
    by_name = {stage.name: stage for stage in dockerfile.stages}
    if target not in by_name:
        raise DockerfileError(f"no stage has the name {target}")
    needed: set[str] = set()
    waiting = [target]
    while waiting:
        stage = by_name[waiting.pop()]
        needed.add(stage.name)
        others = [stage.base]
        others += [copy_step(i).stage for i in stage.instructions if i.keyword == "COPY"]
        waiting += [name for name in others if name in by_name and name not in needed]
    return [stage for stage in dockerfile.stages if stage.name in needed]


def copy_step(instruction: Instruction) -> CopyStep:
    """Return the parts of a ``COPY``; raises DockerfileError for an option other than --from."""
    words = instruction.text.split()
    stage = ""
    while words and words[0].startswith("--"):
        name, _, value = words.pop(0).partition("=")
        if name != "--from":
            raise DockerfileError(f"line {instruction.line}: COPY {name} is not supported")
        stage = value
    if len(words) < 2:
        raise DockerfileError(f"line {instruction.line}: COPY needs a source and a target")
    return CopyStep(stage, tuple(words[:-1]), words[-1])


# --- The configuration


def configured(config: ImageConfig, instruction: Instruction) -> ImageConfig:
    """Return the configuration after an instruction; RUN and COPY do not change it.

    Raises DockerfileError if the instruction is malformed.
    """
    keyword, text, line = instruction
    try:
        if keyword == "ARG":
            name, _, default = text.partition("=")
            value = config.arguments.get(name, config.expanded(default))
            return config._replace(arguments={**config.arguments, name: value})
        if keyword == "ENV":
            return config._replace(env={**config.env, **_pairs(config, text)})
        if keyword in {"RUN", "COPY"}:
            return config
        return config._replace(values={**config.values, **_field(config, keyword, text)})
    except ValueError as error:
        raise DockerfileError(f"line {line}: {keyword}: {error}") from error


def _field(config: ImageConfig, keyword: str, text: str) -> dict[str, object]:
    """Return the field of the configuration that an instruction sets."""
    if keyword == "CMD":
        return {"Cmd": _command(text)}
    if keyword == "ENTRYPOINT":
        # As in Docker, the command of the base image is not for this entry point.
        return {"Entrypoint": _command(text), "Cmd": None}
    if keyword == "HEALTHCHECK":
        return {"Healthcheck": _health_check(text)}
    if keyword == "LABEL":
        before = config.values.get("Labels", {})
        labels = _pairs(config, text)
        return {"Labels": {**(before if isinstance(before, dict) else {}), **labels}}
    text = config.expanded(text)
    if keyword == "EXPOSE":
        return {"ExposedPorts": {f"{port}/tcp": {} for port in text.split()}}
    if keyword == "VOLUME":
        return {"Volumes": {path: {} for path in _command(text)}}
    return {{"USER": "User", "WORKDIR": "WorkingDir"}[keyword]: text}


def _pairs(config: ImageConfig, text: str) -> dict[str, str]:
    """Return the values by name; variables in them are replaced."""
    words = shlex.split(text)
    if not all("=" in word for word in words):
        raise ValueError("write NAME=VALUE")
    parts = (word.partition("=") for word in words)
    return {name: config.expanded(value) for name, _, value in parts}


def _command(text: str) -> list[str]:
    """Return the words of a command in its JSON form, the only form that runs without a shell."""
    words = json.loads(text)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("write the command as a JSON array")
    return words


def _health_check(text: str) -> dict[str, object]:
    found: dict[str, object] = {}
    while text.startswith("--"):
        option, _, text = text.partition(" ")
        name, _, value = option[2:].partition("=")
        text = text.lstrip()
        if name == "retries":
            found["Retries"] = int(value)
        elif name in _HEALTH_OPTIONS and value.endswith("s"):
            found[_HEALTH_OPTIONS[name]] = int(value[:-1]) * _NANOSECONDS
        else:
            raise ValueError(f"--{name}={value} is not supported")
    keyword, _, command = text.partition(" ")
    if keyword != "CMD":
        raise ValueError("write CMD and a JSON array")
    return found | {"Test": ["CMD", *_command(command)]}


# --- Names of the context that are not copied


class Ignored:
    """The patterns of a ``.dockerignore``: a path, or ``**/`` and a pattern for a name."""

    def __init__(self, lines: Sequence[str]) -> None:
        patterns = [line.strip() for line in lines]
        patterns = [pattern for pattern in patterns if pattern and not pattern.startswith("#")]
        for pattern in patterns:
            if pattern.startswith("!") or "*" in pattern.removeprefix("**/*").removeprefix("**/"):
                raise DockerfileError(f".dockerignore: {pattern} is not supported")
        self._paths = frozenset(name for name in patterns if not name.startswith("**/"))
        self._names = frozenset(name[3:] for name in patterns if name.startswith("**/"))

    def has(self, path: str) -> bool:
        """Return whether a path, relative to the context, or a folder above it, is ignored."""
        parts = path.split("/")
        if any("/".join(parts[: end + 1]) in self._paths for end in range(len(parts))):
            return True
        return any(
            part == name or (name.startswith("*") and part.endswith(name[1:]))
            for part in parts
            for name in self._names
        )
