"""File names in the folder of a sweep task, besides its claim and its failure."""

CONFIG = "config.py"
LOG = "log.txt"
"""Standard output and error of the training process."""

PROGRESS = "progress.json"
