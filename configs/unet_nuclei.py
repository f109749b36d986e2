"""U-Net with 32 channels on the shipped nuclei: a result in minutes, without a download."""

_base_ = ["methods/unet.py", "datasets/nuclei.py"]

method = dict(name="UNet32", title="U-Net with 32 channels")

model = dict(
    backbone=dict(channels=(32, 32, 32, 32)),
    decoder=dict(channels=32),
)

schedule = dict(validations=8)
