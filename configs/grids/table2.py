"""Table 2 of the paper: its methods, each with its config here, and P2PNet.

DLA-Count is built on P2PNet, which the table leaves out; LibraNet is the row "DQN" of the paper.
"""

title = "Table 2: methods on four data sets"

layout = "table2"

methods = [
    dict(label="MCNN", config="methods/mcnn.py"),
    dict(label="FCRN", config="methods/fcrn.py"),
    dict(label="CSRNet", config="methods/csrnet.py"),
    dict(label="SFCN", config="methods/sfcn.py"),
    dict(label="DMCount", config="methods/dmcount.py"),
    dict(label="SASNet", config="methods/sasnet.py"),
    dict(label="DQN", config="methods/libranet.py"),
    dict(label="OrdinalEntropy", config="methods/ordinalentropy.py"),
    dict(label="DiffuseDenoiseCount", config="methods/diffusedenoise.py"),
    dict(label="DCL", config="methods/dcl.py"),
    dict(label="P2PNet", config="methods/p2pnet.py"),
    dict(label="Ours", config="methods/dla.py"),
]
