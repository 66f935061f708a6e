"""The format of exports. Imports only ``model``."""
