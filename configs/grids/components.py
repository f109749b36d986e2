"""Every combination of the three parts that DLA-Count names; all else is its config.

Two combinations are a grid's own: GFD with deformable convolutions, and with standard ones.
"""

title = "Matcher x decoder x convolution"

base = "methods/dla.py"

axes = [
    dict(name="matcher", key="model.matcher.type", values=["Hungarian", "KHM"]),
    dict(name="decoder", key="model.decoder.type", values=["FPN", "GFD"]),
    dict(
        name="convolution",
        key="model.decoder.conv.type",
        values=["Standard", "Deformable", "MDGC"],
    ),
]
