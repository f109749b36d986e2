"""The methods without gradient steps, on all five splits: what every other method has to beat.

Minutes a set on a CPU.
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
