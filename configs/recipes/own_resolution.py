"""Images as they come, for tools with weights of their own: not resized, no stain normalised.

The files of the data sets say at which scale networks that learn here see their images. A tool that
is scored as people use it sees what they would give it. A set of one's own is seen as its
`data.json` says: there `--set data.input_scale=1` does the same.
"""

_as_it_comes = dict(data=dict(input_scale=1.0, prepare=[]))

per_dataset = dict(
    adi=_as_it_comes,
    mbm=_as_it_comes,
    dcc=_as_it_comes,
    nuclei=_as_it_comes,
)
