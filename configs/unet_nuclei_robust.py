"""Peaks of a small U-Net on the nuclei that come along, at any exposure and over noise.

What comes with cellbench as `nuclei-unet` is this, trained on split 0. Crops are seen at contrasts,
ground levels and sizes that the set does not have, with a camera's noise, and one in twelve is a
field without cells.
"""

_base_ = ["methods/unetpeaks.py", "datasets/nuclei.py"]

schedule = dict(validations=6)

data = dict(
    augment=[
        dict(type="RandomCrop", size=64, jitter=(0.7, 1.4)),
        dict(type="RandomFlip"),
        dict(type="QuarterTurn"),
        dict(type="ExposureJitter"),
        dict(type="BlankField"),
        dict(type="SensorNoise"),
    ],
)
