"""The server: the only place with sockets, a clock and asyncio.

Owns zoo.cfg, the listener and its connections, the order of *prepare, append, sync, apply, release*
(``processor``), the four-letter words and the life cycle. One thread holds all state; a second one
does nothing but write and sync the log. Imports ``model``, ``wire``, ``state_machine`` and
``storage``.
"""
