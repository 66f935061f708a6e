"""The built-in loaders: each lists the groups of a dataset, and loads one group of it."""
