# DLA-Count on MBM.
_base_ = ["methods/dla.py", "datasets/mbm.py"]
