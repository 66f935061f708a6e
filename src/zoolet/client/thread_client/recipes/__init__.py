"""The recipes of `Client`, which `release.client_methods` makes from those of `AsyncClient`."""
