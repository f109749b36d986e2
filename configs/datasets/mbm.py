# MBM: 600x600 px, nuclei about 25 px wide, seen at half resolution. Its 11 slides of 8 donors are
# stained unalike, and v1 parts images, not slides: of the 7 slides that split 0 tests, 3 are in no
# training image. So colours are jittered as far as slides differ.
data = dict(
    set="mbm",
    radius_px=12.0,
    epochs=160,
    batch_size=8,
    crops_per_image=2,
    input_scale=0.5,
    augment=[
        dict(type="RandomCrop", size=96, jitter=(0.8, 1.25)),
        dict(type="RandomFlip"),
        dict(type="QuarterTurn"),
        dict(
            type="ColourJitter",
            brightness=0.25,
            contrast=0.3,
            saturation=0.3,
            channel_gain=0.08,
            channel_offset=0.03,
        ),
    ],
)
