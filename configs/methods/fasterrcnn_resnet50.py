"""Faster R-CNN on the first two stages of ResNet-50, strides 4 and 8; random without its weights.

Differs: torchvision's ResNet-50-FPN has all four stages and a pool after them, strides 4 to 64, and
keeps ImageNet's stem, first stage and batch-norm; here all are trained. Otherwise as
`fasterrcnn.py`.
"""

_base_ = ["fasterrcnn.py"]

method = dict(name="FasterRCNN-R50", title="Faster R-CNN on pseudo-boxes, ResNet-50-FPN")

model = dict(
    backbone=dict(
        _delete_=True, type="ResNet", depth=50, stages=2, strides=[4, 8], frozen_stages=0
    ),
)
