"""Count-ception, its map read without batch-norm; countception_published has the paper's recipe."""

_base_ = "../recipes/wide_crops.py"

method = dict(
    name="CountCeption",
    title="Count-ception, redundant counts",
    source="Count-ception: Counting by Fully Convolutional Redundant Counting, ICCVW 2017",
)

model = dict(
    type="CountCeption",
    backbone=dict(type="CountCeptionTrunk"),
    target=dict(type="RedundantCount", window=32),
    loss=dict(type="MapL1"),
)

optimizer = dict(type="AdamW", lr=3e-3, weight_decay=1e-4, clip_norm=1.0)

schedule = dict(policy="cosine", warmup=0.05, ema=0.97, validations=3, first_validation=0.6)

# The crops are wide for one more reason: the network computes a border of 32 px around each, so
# that one of 64 px is a quarter of what it computes and one of 128 px four ninths.
