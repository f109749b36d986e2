# DCC: 306x322 to 798x788 px, cells of several kinds and sizes, few in an image.
data = dict(
    set="dcc",
    radius_px=10.0,
    epochs=60,
    batch_size=8,
    crops_per_image=1,
    input_scale=0.5,
    augment=[
        dict(type="RandomCrop", size=96, jitter=(0.7, 1.4)),
        dict(type="RandomFlip"),
        dict(type="QuarterTurn"),
        dict(type="ColourJitter"),
    ],
)
