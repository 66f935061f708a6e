"""Connects to members of the ensemble: TCP, TLS and the login with SASL."""

import asyncio
import secrets
import socket
import ssl
from collections.abc import Callable
from typing import Final

from zoolet.model.ensemble import QuorumAddress
from zoolet.server.leader_link.channel import Channel
from zoolet.server.leader_link.errors import LinkError
from zoolet.server.sockets.stores import load_key, load_trusted
from zoolet.server.sockets.tls import select_versions
from zoolet.server.zoo_cfg.config import QuorumLogin, QuorumTls
from zoolet.wire.digest_md5 import DigestClient, DigestError
from zoolet.wire.jute import MalformedError
from zoolet.wire.quorum_auth import (
    QUORUM_REALM,
    QUORUM_SERVICE,
    AuthReader,
    AuthStatus,
    encode_auth,
)

CONNECT_TIMEOUT_S: Final = 2.0
"""The time in which a member must accept a connection and complete the TLS handshake."""


def quorum_context(tls: QuorumTls) -> ssl.SSLContext:
    """Return the TLS context for connections to members; raises ServerError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = tls.verifies_host
    select_versions(context, tls.protocols, tls.cipher_suites, "ssl.quorum")
    load_key(context, tls.key_store)
    load_trusted(context, tls.trust_store, "the members'")
    return context


async def connect(
    address: QuorumAddress,
    context: ssl.SSLContext | None,
    login: QuorumLogin | None,
    now_ms: Callable[[], int],
    limit_ms: int,
) -> tuple[Channel, bytes]:
    """Return an open channel to a member, and the bytes that it has sent already.

    The wait ends after ``CONNECT_TIMEOUT_S`` for the connection, and after the same time for the
    login. Raises LinkError.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, channel = await loop.create_connection(
                lambda: Channel(address.quorum, now_ms, limit_ms),
                address.host,
                address.quorum_port,
                ssl=context,
                server_hostname=None if context is None else address.host,
            )
    except TimeoutError:
        raise LinkError(f"no connection within {CONNECT_TIMEOUT_S:g} s") from None
    except socket.gaierror as error:
        raise LinkError(f"the host name cannot be resolved: {error.strerror}") from error
    except (OSError, ssl.SSLError) as error:
        raise LinkError(str(error.strerror or error)) from error
    if login is None:
        return channel, b""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            return channel, await _log_in(channel, login)
    except TimeoutError:
        channel.abort("the login takes too long")
        raise LinkError(f"no login within {CONNECT_TIMEOUT_S:g} s") from None
    except (LinkError, DigestError, MalformedError) as error:
        channel.abort("the login failed")
        raise LinkError(
            f"the login as {login.username!r} failed: {error}. Compare zoolet.quorumUsername and"
            " zoolet.quorumPassword with the ensemble's JAAS file"
        ) from error
    except BaseException:
        channel.abort("the login was cancelled")
        raise


async def _log_in(channel: Channel, login: QuorumLogin) -> bytes:
    """Prove who this server is, and check the leader's proof; return the bytes that follow.

    Source: ``SaslQuorumAuthLearner.authenticate``: the learner begins with an empty token.
    """
    client = DigestClient(
        login.username, login.password, QUORUM_SERVICE, QUORUM_REALM, secrets.token_hex(16)
    )
    reader = AuthReader()
    channel.write(encode_auth(AuthStatus.IN_PROGRESS, b""))
    _, challenge = await _next(channel, reader)
    channel.write(encode_auth(AuthStatus.IN_PROGRESS, client.respond(challenge)))
    status, proof = await _next(channel, reader)
    client.check(proof)
    if status is AuthStatus.IN_PROGRESS:
        channel.write(encode_auth(AuthStatus.IN_PROGRESS, b""))
        await _next(channel, reader)
    return reader.rest()


async def _next(channel: Channel, reader: AuthReader) -> tuple[AuthStatus, bytes]:
    while (packet := reader.next()) is None:
        reader.feed(await channel.read())
    if packet.status is AuthStatus.ERROR:
        raise LinkError("the leader refused the login")
    return packet.status, packet.token
