"""Table 3 of the paper, by its text and figures: the effect of KHM, MDGC and all parts together.

The paper does not state whether its row +MDGC has KHM too; here it does not.
"""

title = "Table 3: model ablation on ADI"

layout = "table3"

base = "methods/dla.py"

_plain = {
    "model.matcher.type": "Hungarian",
    "model.decoder.type": "FPN",
    "model.decoder.conv.type": "Standard",
}

variants = [
    dict(label="Baseline", set=_plain),
    dict(label="+KHM", set={**_plain, "model.matcher.type": "KHM"}),
    dict(label="+MDGC", set={**_plain, "model.decoder.conv.type": "MDGC"}),
    dict(
        label="+All",
        set={
            "model.matcher.type": "KHM",
            "model.decoder.type": "GFD",
            "model.decoder.conv.type": "MDGC",
        },
    ),
]

datasets = ["adi"]
