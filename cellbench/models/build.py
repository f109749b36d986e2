"""Building of a counter, with its weights, from the `model` part of a config."""

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
        say: receives one sentence if pretrained weights are unavailable; logged by default.
        load_weights: False leaves the trunk random and touches neither disk nor network: for
            tests, and where a checkpoint is loaded afterwards.

    Returns:
        The counter, in training mode on the CPU; its `weights_info` states what was loaded.

    Raises:
        PartError: an unknown part or argument, with the path of its key.
        UserError: a weights file exists but is wrong.
    """
    if not isinstance(model_cfg, Mapping) or "type" not in model_cfg:
        raise PartError(
            "model: a dict with a 'type' is wanted here, one of "
            f"{', '.join(COUNTERS.names())}, not {model_cfg!r}."
        )
    kind: type[CellCounter] = COUNTERS.get(model_cfg["type"])
    arguments = {key: value for key, value in model_cfg.items() if key != "type"}
    # A config gives a part of a counter as a dict, and never the part itself.
    options, dict_type = parameters_of(kind), cast(Any, Mapping[str, Any])
    for name, option in options.items():
        if name in kind.parts or dict_type in get_args(option.annotation):
            wanted = dict_type | None if option.default is None else dict_type
            options[name] = option.replace(annotation=wanted)
    check_arguments(kind, arguments, path="model", parameters=options)
    # A decoder fits its backbone, and a head its decoder.
    for name, registry in kind.parts.items():
        if arguments.get(name) is None:
            continue
        if registry is DECODERS:
            arguments[name] = build_decoder(arguments[name], arguments["backbone"])
        else:
            given = {"in_shape": arguments["decoder"].shape} if registry is HEADS else {}
            arguments[name] = registry.build(arguments[name], f"model.{name}", **given)
    counter = kind(**arguments)
    if load_weights:
        # The record states the weights of the first trunk. Frozen random filters would be of no
        # use, so a trunk without its weights is trained whole.
        infos = []
        for module in counter.modules():
            if isinstance(module, Backbone) and module.pretrained is not None:
                infos.append(load_trunk_weights(module, module.arch, say=say))
                if infos[-1].sha256 is None:
                    module.unfreeze()
        counter.weights_info = infos[0] if infos else counter.weights_info
    return counter


def build_decoder(cfg: Mapping[str, Any], backbone: Backbone) -> Decoder:
    """Build a decoder for the maps of a backbone.

    Args:
        cfg: `type` and the decoder's arguments; `conv` names the convolution in it, `Standard`
            by default.
        backbone: whose maps it fuses.

    Raises:
        PartError: as `PartRegistry.build`, and if `conv` is given for a decoder that has no
            convolution to replace.
    """
    convs_built = 0
    conv = cfg.get("conv", {"type": "Standard"}) if isinstance(cfg, Mapping) else None

    def make_conv(in_channels: int, out_channels: int) -> Any:
        nonlocal convs_built
        convs_built += 1
        return CONVS.build(
            conv, "model.decoder.conv", in_channels=in_channels, out_channels=out_channels
        )

    rest = cfg
    if isinstance(cfg, Mapping):
        rest = {key: value for key, value in cfg.items() if key != "conv"}
    decoder: Decoder = DECODERS.build(
        rest, "model.decoder", in_shapes=backbone.shapes, conv=make_conv
    )
    if "conv" in cfg and not convs_built:
        raise PartError(
            f"model.decoder.conv: {cfg['type']} has no convolution to swap; leave 'conv' out."
        )
    return decoder
