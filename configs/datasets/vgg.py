# VGG: 256x256 px, generated fluorescence with overlapping cells.
data = dict(
    set="vgg",
    radius_px=4.0,
    epochs=160,
    batch_size=16,
    crops_per_image=1,
    input_scale=1.0,
    augment=[
        dict(type="RandomCrop", size=64, jitter=(0.9, 1.1)),
        dict(type="RandomFlip"),
        dict(type="QuarterTurn"),
    ],
)
