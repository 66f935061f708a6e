"""Programs that make a release: the version, the distributions, the table of sizes."""
