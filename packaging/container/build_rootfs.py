"""Builds the image of the Dockerfile without a container daemon, and prints its sizes.

``python packaging/container/build_rootfs.py DIRECTORY`` executes the instructions of the
Dockerfile beside this file. It makes the base image, a Debian without its documentation, with
debootstrap, and runs each ``RUN`` in it with chroot. The result:

- ``DIRECTORY/rootfs/``: the root file system, for ``check_rootfs``;
- ``DIRECTORY/config.json``: the configuration of the image (command, variables, volumes, ...);
- ``DIRECTORY/zoolet.tar``: the image, for ``docker load`` and ``podman load``.

This needs root, and Debian's packages debootstrap and zstd. It is a program for developers: it
imports nothing of zoolet.
"""

import argparse
import configparser
import hashlib
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from dockerfile import (
    EMPTY,
    Ignored,
    ImageConfig,
    Instruction,
    Stage,
    configured,
    copy_step,
    needed_stages,
    parse,
)

HERE: Final = Path(__file__).resolve().parent
CONTEXT: Final = HERE.parents[1]
CACHE: Final = CONTEXT / ".cache" / "container"
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MOST_MB: Final = 90
"""The image must be smaller than this, compressed as registries store it (gzip)."""

_MEGABYTE: Final = 1_000_000
_STEP_TIMEOUT_S: Final = 1800
_DOCUMENTATION: Final = ("doc", "groff", "info", "linda", "lintian", "locale", "man")
_EMPTY: Final = ("dev", "proc", "run", "sys", "tmp")
"""The directories that a container runtime fills, or that are for a running system only."""

_BASE: Final = "debian:"
_SLIM: Final = "-slim"
_CERTIFICATES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_HOST: Final = "/run/host"
_PROXIES: Final = ("http_proxy", "https_proxy", "no_proxy")


class Built(NamedTuple):
    """A finished stage: its root file system, and its configuration."""

    root: Path
    config: ImageConfig


def say(message: str) -> None:
    """Print a line immediately, so that it comes before the output of a step."""
    sys.stdout.write(f"{message}\n")
    sys.stdout.flush()


def run(command: Sequence[str | Path], **variables: str) -> None:
    """Run a command; end the program if it fails."""
    subprocess.run(command, check=True, timeout=_STEP_TIMEOUT_S, env={**os.environ, **variables})


# --- The base image


def base_archive(release: str) -> Path:
    """Return an archive with a small Debian, as in the images ``debian:RELEASE-slim``."""
    archive = CACHE / f"debian-{release}-slim.tar"
    if archive.exists():
        return archive
    say(f"--- debootstrap {release} (kept in {archive.relative_to(CONTEXT)})")
    root = CACHE / "base"
    remove(root)
    CACHE.mkdir(parents=True, exist_ok=True)
    run(["debootstrap", "--variant=minbase", release, root])
    excluded = [f"path-exclude /usr/share/{name}/*\n" for name in _DOCUMENTATION]
    kept = "path-include /usr/share/doc/*/copyright\n"
    (root / "etc/dpkg/dpkg.cfg.d/container").write_text("".join(excluded) + kept)
    for name in _DOCUMENTATION:
        for path in (root / "usr/share" / name).rglob("*"):
            if path.name != "copyright" and (path.is_symlink() or not path.is_dir()):
                path.unlink()
    for name in ("var/cache/apt/archives", "var/lib/apt/lists", "var/log", "var/cache/debconf"):
        for path in (root / name).rglob("*"):
            if path.is_file() and path.name not in {"lock", "config.dat", "templates.dat"}:
                path.unlink()
    for name in ("etc/resolv.conf", "etc/hostname"):  # this machine's; a container gets its own
        (root / name).unlink(missing_ok=True)
    new = archive.with_suffix(".new")
    pack(root, new)
    new.replace(archive)
    remove(root)
    return archive


def pack(root: Path, archive: Path) -> None:
    """Write the files of a root file system to an archive, in a fixed order."""
    excluded = [f"--exclude=./{name}/*" for name in _EMPTY]
    order = ["--sort=name", "--numeric-owner", f"--mtime=@{build_time_s()}", "--format=posix"]
    # The default names of the headers of this format have the number of the process.
    names = ["--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime"]
    run(["tar", "--create", "--file", archive, "-C", root, *order, *names, *excluded, "."])


def build_time_s() -> int:
    """Return the time of all files: SOURCE_DATE_EPOCH, or the time of the last commit."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "-C", str(CONTEXT), "log", "-1", "--format=%ct"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(found.stdout) if found.returncode == 0 else 0


def remove(directory: Path) -> None:
    """Remove a directory, if it exists. Nothing is mounted in it: `executed`."""
    if directory.exists():
        shutil.rmtree(directory)


# --- The steps


class Builder:
    """Executes the stages of a Dockerfile.

    Attributes:
        work: the directory that gets one root file system for each stage.
    """

    def __init__(self, work: Path, arguments: Mapping[str, str]) -> None:
        """Create the builder; ``arguments`` replace the defaults of ``ARG``."""
        self.work = work
        self._arguments = arguments
        self._built: dict[str, Built] = {}
        self._ignored = Ignored((CONTEXT / ".dockerignore").read_text().splitlines())

    def build(self, target: str) -> Built:
        """Execute the stages that a target needs; return the target."""
        dockerfile = parse((HERE / "Dockerfile").read_text())
        given = {**dockerfile.arguments, **self._arguments}
        for stage in needed_stages(dockerfile, target):
            say(f"--- stage {stage.name}")
            self._built[stage.name] = self._stage(stage, given)
        return self._built[target]

    def _stage(self, stage: Stage, arguments: Mapping[str, str]) -> Built:
        base = ImageConfig({}, {}, arguments).expanded(stage.base)
        if base in self._built:
            before = self._built[base]
            if not any(i.keyword in {"RUN", "COPY"} for i in stage.instructions):
                root = before.root  # only the configuration differs
            else:
                root = self._new_root(stage.name)
                run(["cp", "--archive", "--reflink=auto", f"{before.root}/.", root])
            config = before.config
        elif base.startswith(_BASE) and base.endswith(_SLIM):
            archive = base_archive(base.removeprefix(_BASE).removesuffix(_SLIM))
            root = self._new_root(stage.name)
            run(["tar", "--extract", "--file", archive, "-C", root, "--numeric-owner"])
            config = EMPTY._replace(env={"PATH": PATH})
        else:
            sys.exit(f"The base image {base} cannot be made here: only {_BASE}RELEASE{_SLIM} can.")
        config = config._replace(arguments=self._arguments)
        for instruction in stage.instructions:
            say(f"{instruction.keyword} {' '.join(instruction.text.split())}")
            config = configured(config, instruction)
            if instruction.keyword == "RUN":
                executed(root, config, instruction.text)
            elif instruction.keyword == "COPY":
                self._copy(root, config, instruction)
            elif instruction.keyword == "WORKDIR":
                inside(root, config.expanded(instruction.text)).mkdir(parents=True, exist_ok=True)
        return Built(root, config)

    def _new_root(self, name: str) -> Path:
        root = self.work / name
        remove(root)
        root.mkdir(parents=True)
        return root

    def _copy(self, root: Path, config: ImageConfig, instruction: Instruction) -> None:
        step = copy_step(instruction)
        target = inside(root, config.expanded(step.target))
        is_directory = step.target.endswith("/") or len(step.sources) > 1
        if is_directory:
            target.mkdir(parents=True, exist_ok=True)
        for source in step.sources:
            if step.stage:
                # As in Docker, a directory's content is copied; links and owners stay as they are.
                target.mkdir(parents=True, exist_ok=True)
                path = inside(self._built[step.stage].root, source)
                run(["cp", "--archive", f"{path}/.", target])
                continue
            path = CONTEXT / source
            if path.is_dir():
                shutil.copytree(path, target, ignore=self._ignore, dirs_exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target / path.name if is_directory else target)
        if not step.stage:
            run(["chown", "--recursive", "0:0", target])

    def _ignore(self, directory: str, names: list[str]) -> list[str]:
        folder = Path(directory).relative_to(CONTEXT).as_posix()
        return [name for name in names if self._ignored.has(f"{folder}/{name}")]


def inside(root: Path, path: str) -> Path:
    """Return the place of an absolute path of the image in its root file system."""
    return root / path.lstrip("/")


def executed(root: Path, config: ImageConfig, command: str) -> None:
    """Execute a shell command in a root file system, as ``RUN`` does.

    The command has this machine's network, and its settings for pip. The files of these settings
    are mounted below `_HOST`. The mounts are in a mount namespace of their own, so they end with
    the command, and nothing of them stays in the image.
    """
    variables, files = host_settings()
    steps = ["set -e", "mount --make-rprivate /", "mount -t proc proc proc"]
    steps += ["mount --rbind /dev dev", "mount -t tmpfs tmpfs run", "touch etc/resolv.conf"]
    steps.append("mount --bind /etc/resolv.conf etc/resolv.conf")
    for path in files:
        point = shlex.quote(f"{_HOST}{path}".lstrip("/"))
        create = f"mkdir -p {point}" if path.is_dir() else f"install -D /dev/null {point}"
        steps += [create, f"mount --bind {shlex.quote(str(path))} {point}"]
    steps.append('exec chroot . /bin/sh -c "$0"')
    is_new = not inside(root, "/etc/resolv.conf").exists()
    subprocess.run(
        ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", "\n".join(steps), command],
        cwd=root,
        check=True,
        timeout=_STEP_TIMEOUT_S,
        env={
            **variables,
            "HOME": "/root",
            "DEBIAN_FRONTEND": "noninteractive",
            **config.arguments,
            **config.env,
        },
    )
    if is_new:
        inside(root, "/etc/resolv.conf").unlink()


def host_settings() -> tuple[dict[str, str], list[Path]]:
    """Return the variables that give a step this machine's settings for the network and for pip.

    The settings of pip's files become variables. The second value has the files and directories
    that the variables name; in the variables, their paths begin with `_HOST`.
    """
    settings = configparser.RawConfigParser()
    settings.read(["/etc/pip.conf", Path.home() / ".config/pip/pip.conf"])
    found: dict[str, str] = {}
    for section in ("global", "install"):
        for name, value in settings.items(section) if settings.has_section(section) else ():
            found[f"PIP_{name.upper().replace('-', '_')}"] = value
    found |= {
        name: value
        for name, value in os.environ.items()
        if name.startswith("PIP_") or name in _CERTIFICATES or name.lower() in _PROXIES
    }
    files: dict[Path, None] = {}
    for name, value in found.items():
        words = value.split()
        paths = [Path(word) for word in words if word.startswith("/") and Path(word).exists()]
        files.update(dict.fromkeys(paths))
        found[name] = " ".join(f"{_HOST}{w}" if Path(w) in paths else w for w in words)
    return found, list(files)


# --- The image


def write_image(built: Built, directory: Path) -> dict[str, int]:
    """Write the image and its configuration; return its sizes in bytes."""
    layer = directory / "layer.tar"
    pack(built.root, layer)
    created = datetime.fromtimestamp(build_time_s(), UTC).isoformat()
    architecture = subprocess.run(
        ["/usr/bin/dpkg", "--print-architecture"], capture_output=True, text=True, check=True
    )
    config = {
        "architecture": architecture.stdout.strip(),
        "os": "linux",
        "created": created,
        "config": built.config.as_json(),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest(layer)}"]},
        "history": [{"created": created, "comment": "packaging/container/Dockerfile"}],
    }
    text = json.dumps(config, indent=2, sort_keys=True).encode()
    (directory / "config.json").write_bytes(text)
    name = f"{hashlib.sha256(text).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": ["zoolet:latest"], "Layers": ["layer.tar"]}]
    with tarfile.open(directory / "zoolet.tar", "w") as image:
        for member, content in ((name, text), ("manifest.json", json.dumps(manifest).encode())):
            entry = tarfile.TarInfo(member)
            entry.size, entry.mtime = len(content), build_time_s()
            image.addfile(entry, io.BytesIO(content))
        image.add(layer, "layer.tar", filter=_anonymous)
    sizes = {
        "unpacked": layer.stat().st_size,
        "gzip": compressed_bytes(layer, ["gzip", "-6"]),
        "zstd": compressed_bytes(layer, ["zstd", "-3"]),
    }
    layer.unlink()
    return sizes


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = build_time_s()
    return entry


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def compressed_bytes(path: Path, command: Sequence[str]) -> int:
    """Return the size of a file after a compression program."""
    compressed = path.with_suffix(".compressed")
    with compressed.open("wb") as output:
        subprocess.run([*command, "-c", path], stdout=output, check=True, timeout=_STEP_TIMEOUT_S)
    size_bytes = compressed.stat().st_size
    compressed.unlink()
    return size_bytes


def main() -> None:
    """Build the image, and print its sizes; the exit status is 1 if it is too large."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path, help="the directory of the result")
    parser.add_argument("--target", default="zoolet", help="the stage of the Dockerfile")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("Building a root file system needs root: run the command with sudo.")
    directory = options.directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    arguments = dict(argument.split("=", 1) for argument in options.build_arg)
    built = Builder(directory / "stages", arguments).build(options.target)
    sizes = write_image(built, directory)
    remove(directory / "rootfs")
    built.root.rename(directory / "rootfs")
    remove(directory / "stages")
    for name, size_bytes in sizes.items():
        say(f"size, {name}: {size_bytes / _MEGABYTE:.1f} MB")
    if sizes["gzip"] >= MOST_MB * _MEGABYTE:
        sys.exit(f"The image must be smaller than {MOST_MB} MB.")


if __name__ == "__main__":
    main()
