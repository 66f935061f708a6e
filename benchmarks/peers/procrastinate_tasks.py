"""The tasks for procrastinate. It stores no results: a job that succeeded returned its number."""

import os

import plain_tasks
from procrastinate import App, PsycopgConnector, SyncPsycopgConnector

DSN = os.environ["PEER_DSN"]
Connector = SyncPsycopgConnector if "PEER_SUBMITS" in os.environ else PsycopgConnector
app = App(connector=Connector(conninfo=DSN))
noop = app.task(name="noop")(plain_tasks.noop)
slow = app.task(name="slow")(plain_tasks.slow)
