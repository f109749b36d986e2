"""Scores under the protocol of DLA-Count's released code, for comparison with those of `v1`.

The code as released and the system with everything connected, trained as in `v1` and scored on
augmented crops of their training images, on which the checkpoint is chosen too. Their runs under
`v1` are those of the grid of methods. Differs: crops are those of each set's recipe (see
`cellbench/engine/released.py`).
"""

title = "Scored on crops of the training images"

methods = ["methods/dla_released.py", "methods/dla.py"]

datasets = ["adi", "mbm", "vgg"]

splits = [0]

protocol = "released"
