"""The cellpose package with its own weights: how the tool that people use scores untrained."""

method = dict(
    name="Cellpose (zero-shot)",
    title="Cellpose with its own weights",
    source="Cellpose, Nature Methods 18 (2021), doi:10.1038/s41592-020-01018-x",
)

model = dict(type="CellposeZeroShot")
