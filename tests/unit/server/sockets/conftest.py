"""The event loops on which these tests run, and a certificate for a server."""

import ssl

import pytest
import trustme

from tests.support.loops import LOOPS, RunOnLoop, runner


@pytest.fixture(params=sorted(LOOPS))
def run(request: pytest.FixtureRequest) -> RunOnLoop:
    """Return what runs a scenario, on each event loop."""
    return runner(request.param)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return the CA of the certificate of ``tls``."""
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """Return the context of a server at localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context
