"""Files as they come and go: limits before reading, whole writes or none, locks."""
