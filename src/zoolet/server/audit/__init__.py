"""The audit log: who changed which znode, and with which result."""
