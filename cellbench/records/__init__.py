"""Records of runs: their files, hashes and summaries; no torch."""
