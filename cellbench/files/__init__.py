"""Safe file access: size limits for reading, atomic writes, and locks."""
