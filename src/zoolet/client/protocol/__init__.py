"""The protocol of a client, without I/O, clock, threads and asyncio."""
