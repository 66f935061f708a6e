"""The frames and requests that a server receives from clients."""
