"""Faster R-CNN on the first two stages of ResNet-50, strides 4 and 8; random without its weights.

Differs: torchvision's ResNet-50-FPN has all four stages and a pool behind them, strides 4 to 64,
and keeps stem, first stage and batch-norm as ImageNet left them; here all learns. Else as
`fasterrcnn.py`.
"""

_base_ = ["fasterrcnn.py"]

method = dict(name="FasterRCNN-R50", title="Faster R-CNN on pseudo-boxes, ResNet-50-FPN")

model = dict(
    backbone=dict(
        _delete_=True, type="ResNet", depth=50, stages=2, strides=[4, 8], frozen_stages=0
    ),
)
