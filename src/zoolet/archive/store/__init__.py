"""Where an archive is stored, and what it holds."""
