"""The tasks for Dramatiq."""

import os

import dramatiq
import plain_tasks
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

URL = f"redis://127.0.0.1:{os.environ['PEER_PORT']}"
broker = RedisBroker(url=URL)
broker.add_middleware(Results(backend=RedisBackend(url=URL)))
dramatiq.set_broker(broker)
noop = dramatiq.actor(plain_tasks.noop, store_results=True)
slow = dramatiq.actor(plain_tasks.slow, store_results=True)
