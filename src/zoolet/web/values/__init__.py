"""The data of znodes as people read and edit them. No I/O."""
