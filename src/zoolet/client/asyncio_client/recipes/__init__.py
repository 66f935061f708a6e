"""The recipes of `AsyncClient`; `release.client_methods` makes those of `Client` from them."""
