"""All combinations of matcher, decoder and convolution, with everything else as in DLA-Count.

Two combinations are in no other grid: GFD with deformable convolutions, and with standard ones.
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
