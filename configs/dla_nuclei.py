# DLA-Count on the nuclei shipped with cellbench.
_base_ = ["methods/dla.py", "datasets/nuclei.py"]
