# DLA-Count on ADI.
_base_ = ["methods/dla.py", "datasets/adi.py"]
