"""The tasks for Celery."""

import os

import plain_tasks
from celery import Celery

URL = f"redis://127.0.0.1:{os.environ['PEER_PORT']}"
app = Celery("bench", broker=URL, backend=URL)
noop = app.task(plain_tasks.noop, name="noop")
slow = app.task(plain_tasks.slow, name="slow")
