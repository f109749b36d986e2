# Nuclei: 256x256 px, fluorescence, nuclei 6 to 30 px wide and of very different brightness.
data = dict(
    set="nuclei",
    radius_px=6.0,
    epochs=60,
    batch_size=16,
    crops_per_image=2,
    input_scale=1.0,
    augment=[
        dict(type="RandomCrop", size=64, jitter=(0.8, 1.25)),
        dict(type="RandomFlip"),
        dict(type="QuarterTurn"),
        dict(type="ColourJitter"),
    ],
)
