"""From the `model` part of a config to a counter with its weights."""

from collections.abc import Mapping
from typing import Any, cast, get_args

from cellbench.annotations import parameters_of
from cellbench.errors import PartError
from cellbench.models.counter import CellCounter
from cellbench.models.parts import Backbone, Decoder
from cellbench.models.weights import Say, load_trunk_weights
from cellbench.registry import CONVS, COUNTERS, DECODERS, HEADS, check_arguments


def build_counter(
    model_cfg: Mapping[str, Any], *, say: Say | None = None, load_weights: bool = True
) -> CellCounter:
    """Build a counter and load the pretrained weights of its trunk.

    Args:
        model_cfg: the `model` part of a config: `type` names a counter, the rest are its options.
        say: takes one sentence where pretrained weights cannot be had; logged by default.
        load_weights: False leaves the trunk random and touches neither disk nor network: for
            tests, and where a checkpoint is loaded afterwards.

    Returns:
        The counter, in training mode on the CPU; its `weights_info` says what was loaded.

    Raises:
        PartError: an unknown part or argument, with the path of its key.
        UserError: a weights file is there but wrong.
    """
    if not isinstance(model_cfg, Mapping) or "type" not in model_cfg:
        raise PartError(
            "model: a dict with a 'type' is wanted here, one of "
            f"{', '.join(COUNTERS.names())}, not {model_cfg!r}."
        )
    kind: type[CellCounter] = COUNTERS.get(model_cfg["type"])
    made = {key: value for key, value in model_cfg.items() if key != "type"}
    # Where a counter takes a part, a config gives its dict, and never the part itself.
    options, a_dict = parameters_of(kind), cast(Any, Mapping[str, Any])
    for name, option in options.items():
        if name in kind.parts or a_dict in get_args(option.annotation):
            wanted = a_dict | None if option.default is None else a_dict
            options[name] = option.replace(annotation=wanted)
    check_arguments(kind, made, path="model", parameters=options)
    # A decoder fits its backbone, and a head its decoder.
    for name, registry in kind.parts.items():
        if made.get(name) is None:
            continue
        if registry is DECODERS:
            made[name] = build_decoder(made[name], made["backbone"])
        else:
            given = {"in_shape": made["decoder"].shape} if registry is HEADS else {}
            made[name] = registry.build(made[name], f"model.{name}", **given)
    counter = kind(**made)
    if load_weights:
        # What the first trunk got goes into the record. Frozen random filters would be of no use,
        # so a trunk without its weights is trained whole.
        infos = []
        for module in counter.modules():
            if isinstance(module, Backbone) and module.pretrained is not None:
                infos.append(load_trunk_weights(module, module.arch, say=say))
                if infos[-1].sha256 is None:
                    module.unfreeze()
        counter.weights_info = infos[0] if infos else counter.weights_info
    return counter


def build_decoder(cfg: Mapping[str, Any], backbone: Backbone) -> Decoder:
    """Make a decoder for the maps of a backbone.

    Args:
        cfg: `type` and the decoder's arguments; `conv` names the convolution in it, `Standard`
            by default.
        backbone: whose maps it fuses.

    Raises:
        PartError: as `PartRegistry.build`, and where `conv` names one for a decoder that has no
            place for it.
    """
    made = 0
    conv = cfg.get("conv", {"type": "Standard"}) if isinstance(cfg, Mapping) else None

    def make_conv(in_channels: int, out_channels: int) -> Any:
        nonlocal made
        made += 1
        return CONVS.build(
            conv, "model.decoder.conv", in_channels=in_channels, out_channels=out_channels
        )

    rest = cfg
    if isinstance(cfg, Mapping):
        rest = {key: value for key, value in cfg.items() if key != "conv"}
    decoder: Decoder = DECODERS.build(
        rest, "model.decoder", in_shapes=backbone.shapes, conv=make_conv
    )
    if "conv" in cfg and not made:
        raise PartError(
            f"model.decoder.conv: {cfg['type']} has no convolution to swap; leave 'conv' out."
        )
    return decoder
