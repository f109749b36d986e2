"""All that the leaderboards are to hold: methods, combinations, Tables 3 to 5, `released`.

Runs start split by split, methods before combinations, so that whatever time there is completes
whole comparisons. `--slice I/N` does one share of them on one of N machines.
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
