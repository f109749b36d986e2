"""Which method counts a set of annotated pictures best for its cost, by cross-validation."""
