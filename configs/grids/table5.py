"""Table 5 of the paper: the +MDGC model with four lists of scales.

3, 5, 7, 9 is the default of MDGC, and so the +MDGC run of Table 3: it is trained once.
"""

title = "Table 5: MDGC ablation on ADI"

layout = "table5"

base = "methods/dla.py"

_mdgc = {"model.matcher.type": "Hungarian", "model.decoder.type": "FPN"}

variants = [
    dict(label="5, 7, 11", set={**_mdgc, "model.decoder.conv.scales": [5, 7, 11]}),
    dict(label="3, 7, 11", set={**_mdgc, "model.decoder.conv.scales": [3, 7, 11]}),
    dict(label="3, 5, 7", set={**_mdgc, "model.decoder.conv.scales": [3, 5, 7]}),
    dict(label="3, 5, 7, 9", set=_mdgc),
]

datasets = ["adi"]
