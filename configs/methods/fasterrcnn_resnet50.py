"""Faster R-CNN on ResNet-50-FPN, as torchvision has it; random where its weights are not had."""

_base_ = ["fasterrcnn.py"]

method = dict(name="FasterRCNN-R50", title="Faster R-CNN on pseudo-boxes, ResNet-50-FPN")

model = dict(
    backbone=dict(
        _delete_=True, type="ResNet", depth=50, stages=2, strides=[4, 8], frozen_stages=0
    ),
)
