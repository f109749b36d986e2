"""What the folder of a task of a sweep holds, beside its claim and its failure."""

CONFIG = "config.py"
LOG = "log.txt"
"""Of the process that trains, and of its errors."""

PROGRESS = "progress.json"
