"""Names of the files in the folder of a finished run."""

WEIGHTS = "best.safetensors"
PLAN = "plan.json"
"""Plan of a started run, with its number of steps."""

RECORD = "record.json"
"""Copy of the record beside the weights, so that the folder of a run can be moved elsewhere."""

RUNS = "runs"
"""Folder of a store that holds the folders of runs."""
