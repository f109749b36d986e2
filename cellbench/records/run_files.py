"""What the folder of a finished run holds."""

WEIGHTS = "best.safetensors"
PLAN = "plan.json"
"""The number of steps, once a run has fixed it."""

RECORD = "record.json"
"""A copy of the record beside the weights: with both, the folder of a run can be carried about."""

RUNS = "runs"
"""The folder of a store that holds them."""
