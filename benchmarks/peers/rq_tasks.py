"""The tasks for RQ."""

import os

from plain_tasks import noop, slow
from redis import Redis
from rq import Queue

__all__ = ["PORT", "noop", "queue", "slow"]

PORT = os.environ["PEER_PORT"]
queue = Queue(connection=Redis(host="127.0.0.1", port=int(PORT)))
