"""The tasks for Dramatiq with the broker dramatiq-pg."""

import os

import dramatiq
import plain_tasks
from dramatiq_pg import PostgresBroker

dramatiq.set_broker(PostgresBroker(url=os.environ["PEER_DSN"], results=True))
noop = dramatiq.actor(plain_tasks.noop, store_results=True)
slow = dramatiq.actor(plain_tasks.slow, store_results=True)
