# DLA-Count on the nuclei that are shipped.
_base_ = ["methods/dla.py", "datasets/nuclei.py"]
