"""Faster R-CNN on a VGG-16 trunk, with pseudo-boxes sized by the spacing of the points.

Differs: AdamW on one cosine and a few hundred steps instead of SGD at 0.005; VGG-16 instead of
ResNet-50 (`fasterrcnn_resnet50.py`), because its ImageNet weights are available; half the channels
of the pyramid, a quarter of the second stage's, and its grid of 5 cells instead of 7. Levels of
strides 4 and 8, not 4 to 64. Batch-norm in trained stages is trained too, where torchvision keeps
ImageNet's.
"""

method = dict(
    name="FasterRCNN",
    title="Faster R-CNN on pseudo-boxes",
    source="Faster R-CNN, arXiv:1506.01497",
)

# 2: boxes are clipped at the border. In recipe 1 they reached beyond it, where no proposal can, and
# many of their cells were learned as background: 48 to 63 % of these were found, 88 to 92 % of all
# others.
recipe = 2

model = dict(
    type="FasterRCNN",
    backbone=dict(type="VGG16", batch_norm=True, strides=[4, 8], frozen_stages=2),
    channels=128,
    hidden=256,
    roi_cells=5,
    anchors_px=[[8.0], [16.0]],
)

optimizer = dict(type="AdamW", lr=1e-3, trunk_lr=2e-4, weight_decay=1e-4, clip_norm=5.0)

schedule = dict(policy="cosine", warmup=0.08, ema=0.99)

# Sides of boxes and anchors, px of the original image: cells of ADI are 9 px apart at the median,
# nuclei of MBM 27 px and cells of VGG 9 px, where some overlap almost completely.
per_dataset = dict(
    adi=dict(model=dict(anchors_px=[[7.0], [12.0]], least_box_px=4.0, most_box_px=14.0)),
    mbm=dict(model=dict(anchors_px=[[18.0], [30.0]], least_box_px=12.0, most_box_px=32.0)),
    vgg=dict(
        model=dict(anchors_px=[[7.0], [14.0]], least_box_px=6.0, most_box_px=14.0),
        schedule=dict(ema=0.97),
    ),
    dcc=dict(model=dict(anchors_px=[[16.0], [32.0]], least_box_px=10.0, most_box_px=40.0)),
)
