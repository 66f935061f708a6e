"""Numbers as bytes: big-endian, in buffers that grow. Imports nothing of zoolet."""
