"""An object store with the interface of S3, in a process of its own that a test may kill."""

import base64
import contextlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from zoolet.testing.servers.base import ADDRESS, ReservedPort

BUCKET = "bucket"
_LONGEST_S = 300
"""How long the repetition of all requests may take."""


class S3Emulator:
    """The server of the package moto; it records all requests, and repeats them after a kill.

    Attributes:
        url: the URL of a prefix in its bucket.
        environment: the variables with which s3fs finds it.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._port = ReservedPort()
        self._proxy = Proxy(self._port.number)
        # Clients must not see a bucket without the objects that are about to be repeated.
        self._is_off = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"s3://{BUCKET}/prefix"
        self._endpoint = f"http://{ADDRESS}:{self._port.number}"
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://{self._proxy.hosts}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        """Start the server; it has the objects that it had when it was killed."""
        recording = self._directory / "recording"
        with (self._directory / "s3.log").open("ab") as output:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-W",
                    "ignore",
                    "-m",
                    "moto.server",
                    "--host",
                    ADDRESS,
                    "--port",
                    str(self._port.number),
                ],
                env={**os.environ, "MOTO_RECORDER_FILEPATH": str(recording)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        wait_until(self._answers, "the emulator of S3")
        if recording.exists():
            _keep_changes(recording)
            self._request("POST", "/moto-api/recorder/replay-recording")
        self._request("POST", "/moto-api/recorder/start-recording")
        if not recording.exists():
            self._request("PUT", f"/{BUCKET}")
        self._is_off.close()

    def kill(self) -> None:
        """End the server with SIGKILL."""
        if self._process is not None:
            self._is_off.enter_context(self._proxy.cut_off())
            self._process.kill()
            self._process.wait()
            self._process = None

    def cut_off(self) -> contextlib.AbstractContextManager[None]:
        """Let no connection through for as long as this lasts."""
        return self._proxy.cut_off()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        self._proxy.close()

    def _answers(self) -> bool:
        try:
            self._request("GET", "/moto-api/")
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def _request(self, method: str, path: str) -> None:
        request = urllib.request.Request(self._endpoint + path, method=method)
        if path == f"/{BUCKET}":
            scope = "20200101/us-east-1/s3/aws4_request"
            request.add_header("Authorization", f"AWS4-HMAC-SHA256 Credential=test/{scope}")
        with urllib.request.urlopen(request, timeout=_LONGEST_S) as answer:
            answer.read()


def _keep_changes(recording: Path) -> None:
    """Remove the requests that change nothing, and incomplete lines and requests."""
    lines = recording.read_bytes().splitlines(keepends=True)
    complete = [line for line in lines if line.endswith(b"\n")]
    recording.write_bytes(b"".join(line for line in complete if _is_change(json.loads(line))))


def _is_change(request: dict[str, Any]) -> bool:
    """Return whether a recorded request has changed objects.

    A client that was killed has sent only the begin of its request. The emulator would wait for the
    rest of it for ever.
    """
    headers = {name.lower(): value for name, value in dict(request["headers"]).items()}
    body = request["body"] or ""
    size_bytes = len(base64.b64decode(body) if request["body_encoded"] else body.encode())
    is_complete = size_bytes >= int(headers.get("content-length") or 0)
    return is_complete and request["method"] in {"PUT", "POST", "DELETE"}
