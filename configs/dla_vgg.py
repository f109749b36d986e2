# DLA-Count on VGG.
_base_ = ["methods/dla.py", "datasets/vgg.py"]
