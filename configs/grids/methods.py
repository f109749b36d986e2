"""Every method that is trained here, with its config unchanged, fastest first.

The zero-shot configs are left out, because they train nothing and need a package of their own.
"""

title = "Every method"

methods = [
    # Without gradient steps.
    "methods/meancount.py",
    "methods/bloblog.py",
    "methods/blobforest.py",
    "methods/watershed.py",
    # Small networks with random initial weights.
    "methods/mcnn.py",
    "methods/fcrn.py",
    "methods/fcrn_b.py",
    "methods/unet.py",
    "methods/unetpeaks.py",
    "methods/saunet.py",
    "methods/pgcnet.py",
    "methods/countception.py",
    "methods/cellpose.py",
    "methods/stardist.py",
    # On the trunk of a VGG-16.
    "methods/dla.py",
    "methods/p2pnet.py",
    "methods/dcl.py",
    "methods/dmcount.py",
    "methods/csrnet.py",
    "methods/sfcn.py",
    "methods/ordinalentropy.py",
    "methods/libranet.py",
    "methods/fasterrcnn.py",
    "methods/sasnet.py",
    "methods/diffusedenoise.py",
    # On deeper trunks.
    "methods/fasterrcnn_resnet50.py",
    "methods/sfcn_resnet101.py",
    # Trained as in their papers.
    "methods/mcnn_published.py",
    "methods/fcrn_published.py",
    "methods/saunet_published.py",
    "methods/countception_published.py",
    "methods/cellpose_published.py",
    "methods/stardist_published.py",
    "methods/p2pnet_published.py",
    "methods/dmcount_published.py",
    "methods/csrnet_published.py",
    "methods/sfcn_published.py",
    "methods/dla_paper.py",
    "methods/dla_released.py",
]

datasets = ["adi", "mbm", "vgg", "nuclei"]
