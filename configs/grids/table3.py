"""The paper's Table 3, as its text and figures read: what KHM, MDGC and all parts together add.

The paper does not say whether its row +MDGC has KHM too; here it has not.
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
