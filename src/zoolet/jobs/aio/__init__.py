"""The dispatcher for asyncio: the code of `Dispatcher` on `zoolet.client.AsyncClient`."""
