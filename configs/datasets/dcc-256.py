# DCC resized to 256x256 px: cells are about half as wide as in dcc, whose config halves the images.
data = dict(
    set="dcc-256",
    radius_px=5.0,
    epochs=60,
    batch_size=8,
    crops_per_image=1,
    augment=[
        dict(type="RandomCrop", size=96, jitter=(0.7, 1.4)),
        dict(type="RandomFlip"),
        dict(type="QuarterTurn"),
        dict(type="ColourJitter"),
    ],
)
