# MBM: 600x600 px, nuclei about 25 px wide, seen at half resolution. A jitter of the colours as
# wide as slides differ lost on the validation part of split 0 (MAE 7.3 against 5.1).
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
        dict(type="ColourJitter"),
    ],
)
