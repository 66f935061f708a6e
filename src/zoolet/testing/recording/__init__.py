"""Recordings of the frames between clients and an ensemble, and their replay."""
