"""Peaks of a small U-Net on the shipped nuclei, for any exposure and noisy images.

The model `nuclei-unet` shipped with cellbench is this one, trained on split 0. Crops are augmented
to contrasts, background levels and sizes that the set does not have, with camera noise, and one in
twelve is a field without cells.
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
