"""Table 4 of the paper: the +KHM model with two numbers of neighbours, and the full model.

k = 5 is the +KHM run of Table 3 and the full model its +All: they are trained once.
"""

title = "Table 4: KHM ablation on ADI"

layout = "table4"

base = "methods/dla.py"

_khm = {"model.decoder.type": "FPN", "model.decoder.conv.type": "Standard"}

variants = [
    dict(label="k=3", set={**_khm, "model.matcher.k": 3}),
    dict(label="k=5", set={**_khm, "model.matcher.k": 5}),
    dict(label="Full Model", set={"model.matcher.k": 5}),
]

datasets = ["adi"]
