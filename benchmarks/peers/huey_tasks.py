"""The tasks for Huey."""

import os

import plain_tasks
from huey import RedisHuey

huey = RedisHuey("bench", host="127.0.0.1", port=int(os.environ["PEER_PORT"]))
noop = huey.task()(plain_tasks.noop)
slow = huey.task()(plain_tasks.slow)
