"""Original images for pretrained tools: not resized, no stain normalisation.

The files of the data sets set the scale of the images for networks that are trained here. A
pretrained tool is scored on the images that its users would give it. For a data set of your own,
whose scale is in its `data.json`, `--set data.input_scale=1` has the same effect.
"""

_as_it_comes = dict(data=dict(input_scale=1.0, prepare=[]))

per_dataset = dict(
    adi=_as_it_comes,
    mbm=_as_it_comes,
    dcc=_as_it_comes,
    nuclei=_as_it_comes,
)
