"""All runs of the leaderboards: methods, combinations, Tables 3 to 5, `released`.

Runs start split by split, methods before combinations, so that a limited time completes whole
comparisons. `--slice I/N` runs one share of them on one of N machines.
"""

title = "Everything"

grids = [
    "methods",
    dict(grid="components", datasets=["adi", "mbm", "vgg", "nuclei", "dcc-sim"]),
    "table3",
    "table4",
    "table5",
    "released",
]
