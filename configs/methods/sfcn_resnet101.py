"""SFCN in the form of the released code: ResNet-101 up to its third stage, kept at stride 8.

Differs: trained as sfcn; ResNet's stem and first stage keep ImageNet's filters and statistics.
"""

_base_ = ["sfcn.py"]

method = dict(name="SFCN-R101", title="SFCN, ResNet-101 form")

model = dict(
    backbone=dict(
        _delete_=True, type="ResNet", depth=101, stages=3, coarsest=8, strides=[8], frozen_stages=2
    ),
    decoder=dict(gain=1.0),
)
