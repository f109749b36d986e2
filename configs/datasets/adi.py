# ADI: 150x150 px, packed adipocytes 9 px apart at the median.
data = dict(
    set="adi",
    radius_px=4.0,
    epochs=48,
    crops_per_image=4,
    input_scale=1.0,
    augment=[
        dict(type="RandomCrop", size=64, jitter=(0.8, 1.25)),
        dict(type="RandomFlip"),
        dict(type="QuarterTurn"),
        dict(type="ColourJitter"),
    ],
)
