# VGG: 256x256 px, generated fluorescence with overlapping cells of one size. Crops have the scale
# of the scored images: a jitter of the scale would resample, and so blur, sharp images.
data = dict(
    set="vgg",
    radius_px=4.0,
    epochs=130,
    batch_size=16,
    crops_per_image=1,
    input_scale=1.0,
    augment=[
        dict(type="RandomCrop", size=64),
        dict(type="RandomFlip"),
        dict(type="QuarterTurn"),
    ],
)
