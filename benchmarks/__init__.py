"""Measurements, as ratios to a peer that is run in the same call; never asserted in a test."""
