# DLA-Count on DCC.
_base_ = ["methods/dla.py", "datasets/dcc.py"]
