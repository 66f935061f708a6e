"""Recipes of kazoo, Curator and zoolet, recognised by names, data and Stats of znodes."""
