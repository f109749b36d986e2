"""Three networks and the methods without gradient steps on all five splits of MBM.

Some two hours on a CPU, most of them DLA's.
"""

title = "Five splits of MBM"

methods = [
    "methods/dla.py",
    "methods/fcrn.py",
    "methods/mcnn.py",
    "methods/meancount.py",
    "methods/bloblog.py",
    "methods/blobforest.py",
    "methods/watershed.py",
]

datasets = ["mbm"]
splits = [0, 1, 2, 3, 4]
