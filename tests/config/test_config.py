import json
import re
import subprocess
import sys

import pytest

from cellbench.config.compose import merge, resolve
from cellbench.config.sources import find_config
from cellbench.errors import UserError

METHODS = [f"configs/methods/{name}.py" for name in ("dla", "dla_paper", "dla_released", "p2pnet")]
SETS = ["adi", "mbm", "vgg", "dcc"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dataset", SETS)
def test_every_method_composes_with_every_set(method, dataset):
    config = resolve(method, dataset=dataset)
    assert config.data.set == dataset
    assert json.loads(json.dumps(config.plain())) == config.plain()


@pytest.mark.parametrize("dataset", SETS)
def test_a_composition_is_its_method_and_set(dataset):
    assert resolve(f"configs/dla_{dataset}.py") == resolve(
        "configs/methods/dla.py", dataset=dataset
    )


def test_the_hash_follows_the_content_alone():
    one = resolve("configs/dla_adi.py")
    assert one.hash == resolve("dla_adi").hash
    assert one.hash != resolve("dla_adi", overrides=["optimizer.lr=0.123"]).hash
    assert one.hash == resolve("configs/dla_vgg.py", dataset="adi").hash


def test_swapping_a_part_forgets_the_arguments_of_the_old_one():
    config = resolve("dla_adi", overrides=["model.matcher.type=Hungarian"])
    assert config.model["matcher"]["type"] == "Hungarian"
    assert "k" not in config.model["matcher"]
    assert "model.matcher.type=Hungarian" in config.method.name


def test_an_override_of_a_swapped_part_is_kept():
    config = resolve(
        "configs/methods/p2pnet.py",
        dataset="adi",
        overrides=["model.matcher.type=KHM", "model.matcher.k=3"],
    )
    assert config.model["matcher"]["type"] == "KHM"
    assert config.model["matcher"]["k"] == 3


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.matcher.type=KMH"], "model.matcher.type: There is no matcher called 'KMH'; did"),
        (["model.matcher.kk=3"], "model.matcher.kk: KHM takes no such argument; did you mean 'k'?"),
        (["model.macher.k=3"], "did you mean 'matcher'?"),
        (["optimizer.lr=fast"], "optimizer.lr: a number above 0 is wanted here, not 'fast'."),
        (["optimizer.type=Adan"], "optimizer.type"),
        (
            ["data.batch_size=0"],
            "data.batch_size: a whole number of at least 1 and at most 65536 is wanted here",
        ),
        (["data.batch_size=True"], "data.batch_size: a whole number of at least 1"),
        (["data.augment.0.sizes=3"], "data.augment.0.sizes: RandomCrop takes no such argument"),
        (["data.augment.9.size=3"], "no index of a list"),
        (["model.matcher.type=os.system"], "model.matcher.type"),
        (["nonsense"], "--set takes key=value"),
        (["data.set=vgg"], "--set data.set: the set is chosen by its name"),
        (["data=3"], "--set data: the set is chosen by its name"),
        (["model.backbone=3"], "model.backbone: a backbone is a dict with a 'type', not 3."),
    ],
)
def test_a_wrong_key_is_one_sentence_with_its_path(overrides, said):
    with pytest.raises(UserError) as caught:
        resolve("configs/dla_adi.py", overrides=overrides)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_method_alone_asks_for_a_set():
    with pytest.raises(UserError, match="names no data set; add --dataset"):
        resolve("configs/methods/dla.py")


def test_the_nearest_config_is_offered():
    with pytest.raises(UserError, match=r"did you mean configs/dla_adi\.py"):
        find_config("configs/dla_ady.py")


def test_the_working_folders_own_config_comes_first(tmp_path, monkeypatch):
    own = tmp_path / "configs" / "dla_adi.py"
    own.parent.mkdir()
    own.write_text("recipe = 3\n")
    monkeypatch.chdir(tmp_path)
    assert find_config("configs/dla_adi.py") == own.resolve()
    assert find_config("dla_vgg").name == "dla_vgg.py"  # the shipped one


def test_a_config_that_fails_says_how(tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("model = dict(type=1/0)\n")
    with pytest.raises(UserError, match="ZeroDivisionError"):
        resolve(broken)


def test_a_simulators_name_takes_its_real_sets_file():
    simulated = resolve("configs/methods/dla.py", dataset="adi-sim")
    assert simulated.data.set == "adi-sim"
    assert simulated.data.input_scale == resolve("dla_adi").data.input_scale


def test_a_part_of_another_type_replaces_instead_of_merging():
    base = {"matcher": {"type": "KHM", "k": 5}, "lr": 1}
    assert merge(base, {"matcher": {"type": "Hungarian"}}) == {
        "matcher": {"type": "Hungarian"},
        "lr": 1,
    }
    assert merge(base, {"matcher": {"k": 3}})["matcher"] == {"type": "KHM", "k": 3}
    assert base["matcher"] == {"type": "KHM", "k": 5}


def test_resolving_never_imports_torch():
    code = (
        "import sys; from cellbench.config.compose import resolve; resolve('configs/dla_adi.py'); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_key_that_is_newer_than_the_first_records_leaves_their_hashes_alone():
    # The hash under which the record of DLA on ADI, split 0, stands.
    recorded = "7443c5e4e17ea3e34dc78797645a77c01901a6a7a6d772401c36182c6b453540"
    assert resolve("dla_adi").hash == recorded
    assert "prepare" in resolve("dla_mbm").plain()["data"]


def test_a_preparation_is_checked_as_every_part():
    with pytest.raises(UserError, match=r"data\.prepare\.0"):
        resolve("dla_mbm", overrides=["data.prepare=[{'type': 'StainNormalization'}]"])


def test_a_section_that_a_method_leaves_out_can_be_set_all_the_same():
    plain = resolve("methods/watershed", dataset="adi")
    changed = resolve("methods/watershed", dataset="adi", overrides=["schedule.validations=1"])
    assert changed.schedule.validations == 1
    assert changed.optimizer == plain.optimizer


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("lr=5e-4", "did you mean 'optimizer.lr'?"),
        ("matcher=KHM", "did you mean 'model.matcher'?"),
        ("modell=3", "did you mean 'model'?"),
        ("seed=3", "the option --seed sets it."),
        ("foo=1", "there are data, method, model, optimizer, recipe, schedule"),
    ],
)
def test_a_key_that_no_config_has_at_its_top_changes_nothing_and_is_named(override, said):
    with pytest.raises(UserError, match=re.escape(said)):
        resolve("methods/dla.py", dataset="adi-sim", overrides=[override])
