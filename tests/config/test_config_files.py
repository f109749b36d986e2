"""Claims about config files: programs run when the user names them, data never do anything."""

import json

import pytest

from cellbench.config.compose import resolve
from cellbench.config.plain_data import DEEPEST, LARGEST_BYTES
from cellbench.config.sources import config_folders, load_file, read_config
from cellbench.errors import UserError

SHIPPED = config_folders()[-1]

WHOLE = """
_base_: [methods/bloblog.py, datasets/adi.py]
method: {name: BlobLoG-yaml}
optimizer: {lr: 1e-4}
"""

TAGGED = {
    "apply": '!!python/object/apply:os.system ["touch {marker}"]',
    "new": "!!python/object/new:os.system [touch {marker}]",
    "name": "!!python/name:os.system",
    "module": "!!python/module:antigravity",
    "nested": "[1, {{a: !!python/object/apply:os.system ['touch {marker}']}}]",
    "key": "{{? !!python/object/apply:os.system ['touch {marker}'] : 1}}",
    "own": "!anything 5",
    "binary": "!!binary aGVsbG8=",
    "set": "!!set {{a, b}}",
}


@pytest.fixture
def marker(tmp_path):
    """A file that no config may make."""
    file = tmp_path / "PWNED"
    yield file
    assert not file.exists()


def test_a_config_in_yaml_or_json_is_one_as_any_other(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(WHOLE)
    config = resolve(file)
    assert (config.method.name, config.optimizer.lr) == ("BlobLoG-yaml", 1e-4)
    assert config.model == resolve("methods/bloblog.py", dataset="adi").model
    assert read_config(file).data == ("mine.yaml",)
    (tmp_path / "mine.json").write_text(json.dumps({"_base_": "mine.yaml", "recipe": 3}))
    assert resolve(tmp_path / "mine.json").recipe == 3
    assert resolve(file, overrides=["optimizer.lr=0.5"]).optimizer.lr == 0.5


ROUTES = [
    *((kind, "itself") for kind in TAGGED),
    *(("apply", route) for route in ("base", "computed base", "base of yaml")),
]


@pytest.mark.parametrize(("kind", "route"), ROUTES)
def test_no_tag_of_yaml_is_followed(tmp_path, marker, kind, route):
    evil = tmp_path / "evil.yaml"
    evil.write_text(f"method: {TAGGED[kind].format(marker=marker)}\n")
    file = evil
    if route == "base":
        file = tmp_path / "a.py"
        file.write_text('_base_ = "evil.yaml"\n')
    elif route == "computed base":
        file = tmp_path / "a.py"
        file.write_text('_base_ = "evil" + ".yaml"\n')
    elif route == "base of yaml":
        file = tmp_path / "a.yaml"
        file.write_text("_base_: evil.yaml\n")
    with pytest.raises(UserError) as error:
        resolve(file)
    assert str(error.value).count("\n") == 0
    assert "plain values" in str(error.value)


def test_what_mmengine_substitutes_in_yaml_cannot_smuggle_a_tag(tmp_path, marker, monkeypatch):
    monkeypatch.setenv("SMUGGLED", f"!!python/object/apply:os.system ['touch {marker}']")
    (tmp_path / "evil.yaml").write_text("method: \"{{'$SMUGGLED:5'}}\"\n")
    (tmp_path / "evil2.yaml").write_text("method: {{$SMUGGLED:5}}\n")
    for name in ("evil.yaml", "evil2.yaml"):
        (tmp_path / "a.py").write_text(f"_base_ = {name!r}\n")
        with pytest.raises(UserError):
            resolve(tmp_path / "a.py")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.yaml", "a: &x [1]\nb: [*x, *x]\n", "alias"),
        ("a.yaml", "a: " + "[" * 100 + "]" * 100, "deep"),
        ("a.yaml", "a: " + "[" * 20_000, "deep"),
        ("a.json", '{"a": ' + "[" * 100 + "]" * 100 + "}", "deep"),
        ("a.json", "[" * 100_000, "deep"),
        ("a.yaml", "a: .nan\n", "finite"),
        ("a.json", '{"a": [1e400]}', "finite"),
        ("a.json", '{"a": NaN}', "finite"),
        ("a.json", '{"a": ' + "9" * 5000 + "}", "cannot be read"),
        ("a.json", '{"a": ' + "9" * 500 + "}", "2^53"),
        ("a.yaml", "1: 2\n", "key 1"),
        ("a.yaml", "a: 2026-01-01\n", "plain values"),
        ("a.yaml", "- 1\n", "no keys"),
        ("a.yaml", "", "no keys"),
        ("a.json", "5", "no keys"),
        ("a.yaml", "a: [", "cannot be read"),
        ("a.yaml", b"\xff\xfe\x00", "UTF-8"),
        ("a.json", b" " * (LARGEST_BYTES + 1), "at most"),
        ("a.txt", "a = 1", "end in .py"),
        ("a.json", '{"method": {"name": "x"}, "__class__": 5}', "no data set"),
    ],
)
def test_data_that_is_no_config_is_one_sentence(tmp_path, name, content, words):
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as error:
        resolve(file)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


def test_as_deep_as_a_config_may_be_is_read(tmp_path):
    (tmp_path / "a.json").write_text('{"a": ' + "[" * (DEEPEST - 1) + "]" * (DEEPEST - 1) + "}")
    assert list(load_file(tmp_path / "a.json")) == ["a"]


def test_data_never_start_a_program_that_lies_beside_them(tmp_path, marker):
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nmethod = 5\n")
    inner = tmp_path / "inner"
    inner.mkdir()
    for place, named in (
        (tmp_path, "evil.py"),
        (tmp_path, str(tmp_path / "evil.py")),
        (inner, "../evil.py"),
        (tmp_path, ["datasets/adi.py", "evil.py"]),
    ):
        (place / "a.json").write_text(json.dumps({"_base_": named}))
        with pytest.raises(UserError, match=r"evil.py.* neither"):
            resolve(place / "a.json")


@pytest.mark.parametrize(
    "named", ["/etc/passwd", "../b.yaml", "nothing.yaml", "", 5, "\0", "a.yaml"]
)
def test_data_name_bases_in_their_own_folder_alone(tmp_path, named):
    (tmp_path / "b.yaml").write_text("method: {name: x}\n")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "a.yaml").write_text(json.dumps({"_base_": named}))
    with pytest.raises(UserError, match="base"):
        resolve(inner / "a.yaml")


def test_a_base_of_a_program_that_is_data_has_no_bases(tmp_path, marker):
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    (tmp_path / "b.yaml").write_text("_base_: evil.py\n")
    for base in ('"b.yaml"', '"b" + ".yaml"'):
        (tmp_path / "a.py").write_text(f"_base_ = {base}\n")
        with pytest.raises(UserError, match="no bases of their own"):
            resolve(tmp_path / "a.py")


def test_data_set_no_interpreter_but_a_program_and_the_command_line_do(tmp_path):
    base = {"_base_": ["methods/cellpose_zeroshot.py", "datasets/adi.py"]}
    (tmp_path / "a.json").write_text(json.dumps(base))
    given = resolve(tmp_path / "a.json", overrides=["model.python=/opt/python"])
    assert given.model["python"] == "/opt/python"
    (tmp_path / "a.json").write_text(json.dumps({**base, "model": {"python": "/opt/python"}}))
    with pytest.raises(UserError, match=r"a.json sets model.python.*CellposeZeroShot"):
        resolve(tmp_path / "a.json")
    special = {"per_dataset": {"adi": {"model": {"python": "/opt/python"}}}}
    (tmp_path / "a.json").write_text(json.dumps({**base, **special}))
    with pytest.raises(UserError, match=r"a.json sets model.python"):
        resolve(tmp_path / "a.json")
    (tmp_path / "b.yaml").write_text("model: {python: /opt/python}\n")
    (tmp_path / "c.py").write_text(
        f"_base_ = ['b.yaml', {str(SHIPPED / 'datasets/adi.py')!r}]\n"
        "method = dict(name='x')\nmodel = dict(type='CellposeZeroShot')\n"
    )
    with pytest.raises(UserError, match=r"b.yaml sets model.python"):
        resolve(tmp_path / "c.py")
    (tmp_path / "d.py").write_text(
        f"_base_ = [{str(SHIPPED / 'datasets/adi.py')!r}]\n"
        "method = dict(name='x')\nmodel = dict(type='CellposeZeroShot', python='/opt/python')\n"
    )
    assert resolve(tmp_path / "d.py").model["python"] == "/opt/python"


@pytest.mark.parametrize(
    "source",
    [
        "import sys; sys.exit(0)",
        "raise SystemExit",
        "raise BaseException('x')",
        "raise GeneratorExit",
        "def f(): return f()\nf()",
        "x = " + "(" * 300 + ")" * 300,
        "_base_ = ['a.py']",
        "1 / 0",
        "_base_ = [5]",
        "_base_ = ['\\0']",
    ],
)
def test_a_program_that_fails_or_exits_is_one_sentence(tmp_path, source):
    (tmp_path / "a.py").write_text(source + "\n")
    with pytest.raises(UserError) as error:
        resolve(tmp_path / "a.py")
    assert "\n" not in str(error.value)
    assert "a.py" in str(error.value)


def test_a_program_can_be_interrupted(tmp_path):
    (tmp_path / "a.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        resolve(tmp_path / "a.py")


@pytest.mark.parametrize(
    "dataset", ["../../etc/passwd", "../methods/dla", "/etc/passwd", "a\0b", ""]
)
def test_a_data_set_is_named_not_a_path(dataset):
    with pytest.raises(UserError, match="data set"):
        resolve("methods/bloblog.py", dataset=dataset)
