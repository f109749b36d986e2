"""Claims about what a record may say of parts; `Local` and the others stand for parts of others."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from cellbench.annotations import parameters_of
from cellbench.config.part_options import check_untrusted_parts
from cellbench.errors import UserError
from cellbench.registry import CONVS, COUNTERS, LOSSES, MATCHERS, TRANSFORMS


class Silent:
    def __init__(
        self,
        *,
        mode: str = "fast",
        path: str | None = None,
        sizes: Sequence[int] = (1,),
        kind: Literal["a", "b"] = "a",
        kinds: Sequence[Literal["a", "b"]] = (),
        table: Mapping[str, Any] | None = None,
        unknown=None,
    ) -> None: ...


class Local:
    local_options: ClassVar[tuple[str, ...]] = ("program", "level")
    named_options: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": ("small", "large")}

    def __init__(
        self, *, program: str | None = None, level: int = 1, model: str = "small"
    ) -> None: ...


class Inherits(Local):
    def __init__(self, *, width: int = 1, **options: Any) -> None: ...


class Made:
    def __init__(self, *, form: Literal["round"] = "round", file: str = "") -> None: ...


class Holds:
    parts: ClassVar[Mapping[str, Any]] = {"inner": MATCHERS, "several": LOSSES}

    def __init__(
        self,
        *,
        inner: Any = None,
        several: Any = None,
        made: Made | Mapping[str, Any] | None = None,
    ) -> None: ...


@pytest.fixture(autouse=True)
def registered():
    own = [
        (MATCHERS, Silent), (MATCHERS, Local), (LOSSES, Inherits), (COUNTERS, Holds),
        (TRANSFORMS, Silent), (CONVS, Silent),
    ]  # fmt: skip
    for registry, part in own:
        registry.register_module(module=part)
    yield
    for registry, part in own:
        del registry._module_dict[part.__name__]


def check(**options):
    check_untrusted_parts({"model": {"type": "Holds", **options}}, "The record r.json")


@pytest.mark.parametrize(
    "inner",
    [
        {"type": "Silent"},
        {"type": "Silent", "mode": "fast", "path": None, "sizes": [1, 2], "kind": "b"},
        {"type": "Silent", "kinds": ["a", "b"], "table": {"a": 1, "b": {"c": [2.5, True]}}},
        {"type": "Local", "program": None, "level": 1, "model": "large"},
    ],
)
def test_numbers_switches_names_and_defaults_may_come_from_anyone(inner):
    check(inner=inner)


NESTED = {"type": "Silent", "path": "x"}
HOSTILE = [
    ("inner.path", {"type": "Silent", "path": "/etc/passwd"}, "Silent"),
    ("inner.path", {"type": "Silent", "path": "evil"}, "Silent"),
    ("inner.path", {"type": "Silent", "path": "http://example.org/w.pt"}, "Silent"),
    ("inner.mode", {"type": "Silent", "mode": "sh"}, "Silent"),
    ("inner.kind", {"type": "Silent", "kind": "../c"}, "'a', 'b'"),
    ("inner.kinds.1", {"type": "Silent", "kinds": ["a", "~/x"]}, "'a', 'b'"),
    ("inner.sizes.0", {"type": "Silent", "sizes": ["/x"]}, "Silent"),
    ("inner.table.a.0", {"type": "Silent", "table": {"a": ["/x"]}}, "Silent"),
    ("inner.table", {"type": "Silent", "table": {"/x": 1}}, "Silent"),
    ("inner.unknown", {"type": "Silent", "unknown": "x.pt"}, "Silent"),
    ("inner.nowhere", {"type": "Silent", "nowhere": "x.pt"}, "Silent"),
    ("inner._scope_", {"type": "Silent", "_scope_": "mmdet"}, "Silent"),
    ("inner.program", {"type": "Local", "program": "sh"}, "Local takes 'program' only"),
    ("inner.level", {"type": "Local", "level": 2}, "Local takes 'level' only"),
    ("inner.model", {"type": "Local", "model": "./large"}, "'small', 'large'"),
    ("inner.table.conv.path", {"type": "Silent", "table": {"conv": NESTED}}, "Silent"),
    ("inner.conv.path", {"type": "Silent", "conv": NESTED}, "Silent"),
    ("inner.type", {"type": "os.system"}, "dotted name"),
    ("inner.type", {"type": "Nothing"}, "no matcher called"),
    ("inner.type", {"type": ["Silent"]}, "name in quotes"),
    ("inner.type", {}, "name in quotes"),
    ("inner", "os.system", "a matcher is wanted"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "inner", "words"), HOSTILE)
def test_a_text_that_no_list_has_is_refused_by_part_and_option(path, inner, words):
    with pytest.raises(UserError) as error:
        check(inner=inner)
    assert str(error.value).startswith(f"The record r.json sets model.{path}")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_parts_in_lists_and_what_is_handed_on_to_a_base_are_checked():
    check(several=[{"type": "Inherits", "width": 3, "model": "large"}])
    with pytest.raises(UserError, match=r"model.several.1.program .*Inherits takes 'program'"):
        check(several=[{"type": "Inherits"}, {"type": "Inherits", "program": "sh"}])
    with pytest.raises(UserError, match=r"model.several.0.model .*'small', 'large'"):
        check(several=[{"type": "Inherits", "model": "/m"}])
    assert set(parameters_of(Inherits)) == {"width", "program", "level", "model"}


def test_what_an_option_is_made_with_is_checked():
    check(made={"form": "round", "file": ""})
    with pytest.raises(UserError, match=r"model.made.file .*Made takes no text"):
        check(made={"form": "round", "file": "/etc/passwd"})


def test_preparations_of_images_are_checked():
    for key in ("prepare", "augment"):
        with pytest.raises(UserError, match=rf"data.{key}.0.path .*Silent"):
            check_untrusted_parts(
                {"model": {"type": "Holds"}, "data": {key: [{"type": "Silent", "path": "/x"}]}},
                "The record r.json",
            )


def test_no_part_of_cellbench_takes_a_text_that_it_does_not_list():
    """Each option of each registered part, set to a path: none gets through."""
    from cellbench import plugin_index
    from cellbench.registry import REGISTRIES

    tried = 0
    for entry in plugin_index.entries():
        if entry.role in ("dataset", "simulator"):
            continue  # a record names these and sets none of their options
        part = REGISTRIES[entry.role].get(entry.name)
        for name in parameters_of(part):
            for value in ("/etc/passwd", ["http://example.org/x"], {"a": "~/x"}):
                inner = {"type": entry.name, name: value}
                key = "model" if entry.role == "counter" else entry.role
                model = inner if key == "model" else {"type": "Holds", key: inner}
                with pytest.raises(UserError, match=r"The record r\.json"):
                    check_untrusted_parts({"model": model}, "The record r.json")
                tried += 1
    assert tried > 200


def test_every_committed_record_passes():
    import json

    for file in Path(__file__).parents[2].glob("leaderboards/records/*/*.json"):
        check_untrusted_parts(json.loads(file.read_text())["config"], f"The record {file}")
