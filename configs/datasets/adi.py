# ADI: 150x150 px, packed adipocytes 9 px apart at the median. Images are enlarged 1.5 times, so
# that two neighbours rarely share one of the references, which are 4 px apart.
data = dict(
    set="adi",
    radius_px=4.0,
    epochs=104,
    batch_size=4,
    crops_per_image=1,
    input_scale=1.5,
    augment=[
        dict(type="RandomCrop", size=96, jitter=(0.8, 1.25)),
        dict(type="RandomFlip"),
        dict(type="QuarterTurn"),
        dict(type="ColourJitter"),
    ],
)
