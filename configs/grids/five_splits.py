"""Two networks and the methods without gradient steps on all five splits of four sets.

Compares methods beyond a single split: some seven hours on one core of a CPU, most of them FCRN's.
"""

title = "Five splits"

methods = [
    "methods/fcrn.py",
    "methods/mcnn.py",
    "methods/meancount.py",
    "methods/bloblog.py",
    "methods/blobforest.py",
    "methods/watershed.py",
]

datasets = ["adi", "mbm", "vgg", "nuclei"]
splits = [0, 1, 2, 3, 4]
