"""The descriptions of datasets in a queue: their loaders, options and groups."""
