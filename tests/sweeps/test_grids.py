import pytest

from cellbench.config.compose import resolve
from cellbench.config.sources import find_config
from cellbench.errors import UserError
from cellbench.sweeps.combinations import GridOverrides
from cellbench.sweeps.grid_files import load_grid
from cellbench.sweeps.plan import make_plan


def parts(config):
    decoder = config.model["decoder"]
    return config.model["matcher"]["type"], decoder["type"], decoder["conv"]["type"]


def planned(name, store, **wish):
    plan = make_plan(load_grid(name), GridOverrides(splits=(0,), **wish), store)
    return plan, {
        cell.label: runs[0].experiment.config for (cell, _), runs in plan.parts[0].cells.items()
    }


def test_components_are_every_matcher_with_every_decoder_and_convolution(tmp_path, home):
    _, configs = planned("components", tmp_path, datasets=("adi",))
    assert len(configs) == 12
    assert {label: " / ".join(parts(c)) for label, c in configs.items()} == {
        label: label for label in configs
    }


def test_table_3_adds_what_the_paper_names(tmp_path, home):
    _, configs = planned("table3", tmp_path)
    assert {label: parts(config) for label, config in configs.items()} == {
        "Baseline": ("Hungarian", "FPN", "Standard"),
        "+KHM": ("KHM", "FPN", "Standard"),
        "+MDGC": ("Hungarian", "FPN", "MDGC"),
        "+All": ("KHM", "GFD", "MDGC"),
    }
    assert configs["+All"] == resolve("methods/dla.py", dataset="adi")


def test_tables_4_and_5_vary_k_and_the_scales_of_table_3s_rows(tmp_path, home):
    _, third = planned("table3", tmp_path)
    _, fourth = planned("table4", tmp_path)
    assert [c.model["matcher"]["k"] for c in fourth.values()] == [3, 5, 5]
    assert fourth["k=5"] == third["+KHM"]
    assert fourth["Full Model"] == third["+All"]
    _, fifth = planned("table5", tmp_path)
    scales = [c.model["decoder"]["conv"].get("scales") for c in fifth.values()]
    assert scales == [[5, 7, 11], [3, 7, 11], [3, 5, 7], None]
    assert fifth["3, 5, 7, 9"] == third["+MDGC"]


@pytest.mark.parametrize("name", ["components", "table3", "table4", "table5"])
def test_all_combinations_of_a_grid_train_for_the_same_steps(name, tmp_path, home):
    plan, _ = planned(name, tmp_path)
    lengths = {
        (run.dataset, run.experiment.config.data.epochs, run.experiment.config.data.batch_size)
        for run in plan.runs
    }
    assert len(lengths) == len(plan.sets)
    assert plan.notes == []


def test_table_2_names_the_methods_by_their_configs():
    configs = {cell.config for cell in load_grid("table2").cells()}
    assert configs == {
        f"methods/{name}.py"
        for name in (
            "mcnn", "fcrn", "csrnet", "sfcn", "dmcount", "sasnet", "libranet", "ordinalentropy",
            "diffusedenoise", "dcl", "dla", "p2pnet",
        )
    }  # fmt: skip


@pytest.mark.parametrize("name", ["table3", "grids/table3", "configs/grids/table3.py"])
def test_a_grid_is_found_as_configs_are(name):
    assert load_grid(name).name == "table3"


def test_grids_are_no_configs_to_run():
    with pytest.raises(UserError) as caught:
        find_config("configs/grids/componens.py")
    assert "grids" not in str(caught.value).partition(";")[2]
    with pytest.raises(UserError, match="did you mean components"):
        load_grid("componens")


AXIS = 'dict(key="model.matcher.k", values=[3, 5])'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"axes = [{AXIS}]", "names one config as 'base'"),
        (f"base = 'methods/dla.py'\nmethods = ['methods/dla.py']\naxes = [{AXIS}]", "names one"),
        ("base = 'methods/dla.py'", "there is nothing to compare"),
        (f"base = 'methods/dla.py'\naxis = [{AXIS}]", "no 'axis'; did you mean 'axes'?"),
        (
            "base = 'methods/dla.py'\naxes = [dict(key='model.matcher.k', values=[])]",
            "the axis 'k' is empty; give it at least one value.",
        ),
        (
            f"base = 'methods/dla.py'\naxes = [{AXIS}, dict(name='n', key='model.matcher.k', "
            "values=[7])]",
            "the axes 'k' and 'n' both set model.matcher.k; a key belongs to one axis.",
        ),
        (
            f"base = 'methods/dla.py'\naxes = [{AXIS}, dict(key='model.matcher', values=[1])]",
            "both set model.matcher.k and model.matcher",
        ),
        (f"base = 'methods/dla.py'\naxes = [{AXIS}, {AXIS}]", "two axes are called 'k'"),
        (
            "base = 'methods/dla.py'\naxes = [dict(key='model.matcher.k', values=[3, 3])]",
            "two values called 'k=3'",
        ),
        ("base = 'methods/dla.py'\naxes = [dict(values=[3])]", "axes.0 is a dict with 'key'"),
        ("base = 'methods/dla.py'\naxes = [dict(name='n', values=[3])]", "'n' has no key"),
        (f"base = 'methods/dla.py'\nsplits = 3\naxes = [{AXIS}]", "splits is a list of whole"),
        (f"base = 'methods/dla.py'\nlayout = 'table9'\naxes = [{AXIS}]", "layout is one of"),
        (f"base = 'methods/dlaa.py'\naxes = [{AXIS}]", "There is no config 'methods/dlaa.py'"),
        (
            "base = 'methods/dla.py'\naxes = [dict(key='model.macher.k', values=[3])]",
            "k=3: model.macher: there is no key 'macher'; did you mean 'matcher'?",
        ),
        (
            "base = 'methods/dla.py'\naxes = [dict(key='model.matcher.kk', values=[3])]",
            "KHM takes no such argument; did you mean 'k'?",
        ),
        (f"base = 'methods/dla.py'\nsplits = []\naxes = [{AXIS}]", "splits is empty"),
        (f"base = 'methods/dla.py'\ndatasets = []\naxes = [{AXIS}]", "datasets is empty"),
        (
            "methods = [dict(label=' ', config='methods/dla.py')]",
            "the axis 'method' has a value without a label",
        ),
        (
            "base = 'methods/dla.py'\naxes = [dict(key='data.set', values=['vgg'])]",
            "data.set: the set is chosen by its name",
        ),
        (
            "base = 'methods/meancount.py'\naxes = [dict(key='model.k', values=[3])]",
            "MeanCount takes no such argument; it takes none.",
        ),
    ],
)
def test_a_wrong_grid_is_one_sentence_that_names_the_file(text, said, tmp_path, home):
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        make_plan(load_grid(str(file)), GridOverrides(datasets=("adi",)), tmp_path)
    assert said in str(caught.value)
    assert str(caught.value).startswith("mine.py: ")
    assert "\n" not in str(caught.value)


def test_a_value_may_set_several_keys_under_one_label(tmp_path, home):
    file = tmp_path / "mine.py"
    file.write_text(
        "base = 'methods/dla.py'\n"
        "axes = [dict(name='size', values=[dict(label='small', "
        "set={'model.decoder.channels': 64, 'optimizer.lr': 0.01}), dict(label='own', set={})])]\n"
    )
    _, configs = planned(str(file), tmp_path, datasets=("adi",))
    assert configs["small"].model["decoder"]["channels"] == 64
    assert configs["small"].optimizer.lr == 0.01
    assert configs["own"] == resolve("methods/dla.py", dataset="adi")


def test_what_the_command_line_sets_is_set_in_every_combination(tmp_path, home):
    overrides = ("schedule.validations=3", "model.backbone.frozen_stages=1")
    plan, configs = planned("table3", tmp_path, overrides=overrides, epochs=7)
    assert {c.schedule.validations for c in configs.values()} == {3}
    assert {c.data.epochs for c in configs.values()} == {7}
    assert parts(configs["Baseline"]) == ("Hungarian", "FPN", "Standard")
    alone = resolve("methods/dla.py", dataset="adi", overrides=list(overrides))
    assert configs["+All"].model == alone.model
    assert configs["+All"].method.name == alone.method.name
    for run in plan.runs:
        assert "--set schedule.validations=3 --set model.backbone.frozen_stages=1" in run.command


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.matcher.type=KHM", "--set model.matcher.type: the axis 'variant' of table3.py"),
        ("model.decoder=dict(type='FPN')", "varies model.decoder.type; set a key that no axis"),
        ("model.bakbone=3", "PointCounter takes no such argument; did you mean 'backbone'?"),
        ("model.matcher.k=3", "table3.py: Baseline: model.matcher.k: Hungarian takes no such"),
        ("foo", "--set takes key=value, such as model.matcher.type=KHM, not 'foo'."),
    ],
)
def test_a_wrong_set_is_one_sentence(override, said, tmp_path, home):
    with pytest.raises(UserError) as caught:
        planned("table3", tmp_path, overrides=(override,))
    assert said in str(caught.value)
