"""This package reads zoo.cfg and returns its settings as one immutable ``Config``."""
