"""Methods without gradient steps on all five splits: the baselines of every other method.

Minutes per set on a CPU.
"""

title = "Methods without gradient steps"

methods = [
    "methods/meancount.py",
    "methods/bloblog.py",
    "methods/blobforest.py",
    "methods/watershed.py",
]

datasets = ["adi", "mbm", "vgg", "nuclei"]
splits = [0, 1, 2, 3, 4]
