"""Pretrained weights: order of sources, checks, and giving up."""

import hashlib
import socket
import threading
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from cellbench.errors import UserError
from cellbench.models import weights
from cellbench.models.weights import WeightsInfo, load_trunk_weights
from cellbench_plugins.backbones.vgg import VGG16


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home, an empty torchvision cache, and a net that fails any test that asks it."""
    monkeypatch.setenv("CELLBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CELLBENCH_OFFLINE", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(weights, "download", lambda *a, **k: pytest.fail("asked the network"))
    (tmp_path / "home" / "weights").mkdir(parents=True)
    return tmp_path / "home"


def trunk():
    return VGG16(strides=(2,), weights=None)


def tensors(**changed):
    """What a file for `trunk` holds, filters in float16 as ours are."""
    state = {
        name: value.half() if value.ndim == 4 else value.clone()
        for name, value in VGG16(strides=(4,), weights=None).state_dict().items()
    }
    return state | changed


def test_a_file_of_the_home_is_loaded_and_named_by_its_hash(home):
    path = home / "weights" / "vgg16_bn.safetensors"
    state = tensors()
    save_file(state, path)
    said = []
    module = trunk()
    info = load_trunk_weights(module, "vgg16_bn", say=said.append)
    assert info == WeightsInfo(
        "file:vgg16_bn", hashlib.sha256(path.read_bytes()).hexdigest(), "vgg16_bn"
    )
    assert said == []
    for name, value in module.state_dict().items():
        assert value.dtype == (torch.int64 if "num_batches" in name else torch.float32)
        torch.testing.assert_close(value, state[name].to(value.dtype), rtol=0, atol=0)


def test_a_file_of_the_size_of_the_largest_trunk_is_read(home, monkeypatch):
    path = home / "weights" / "vgg16_bn.safetensors"
    save_file(tensors(), path)
    monkeypatch.setattr(weights, "LARGEST_BYTES", path.stat().st_size)
    assert load_trunk_weights(trunk(), "vgg16_bn").source == "file:vgg16_bn"


def test_a_known_file_has_its_name_in_records(home, monkeypatch):
    path = home / "weights" / "vgg16_bn.safetensors"
    save_file(tensors(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(weights.KNOWN, digest, "vgg16-imagenet+bn")
    assert load_trunk_weights(trunk(), "vgg16_bn").source == "vgg16-imagenet+bn"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("features.3.weight", torch.zeros(64, 64, 5, 5), "'features.3.weight' is of shape"),
        ("features.0.bias", torch.full((64,), torch.nan), "'features.0.bias' holds.*not finite"),
        ("features.4.running_var", torch.full((64,), torch.inf), ".* holds values that are not"),
        (
            "features.4.weight",
            torch.full((64,), 1e300, dtype=torch.float64),
            ".* that are not finite",
        ),
        ("features.4.running_var", torch.full((64,), -1.0), ".* holds negative variances"),
        ("features.1.weight", torch.zeros(64, dtype=torch.int32), "it has no float tensor 'feat"),
    ],
)
def test_a_file_that_does_not_fit_is_an_error_and_leaves_the_trunk_alone(home, name, value, reason):
    save_file(tensors(**{name: value}), home / "weights" / "vgg16_bn.safetensors")
    module = trunk()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(UserError, match=rf"does not fit vgg16_bn: {reason}") as caught:
        load_trunk_weights(module, "vgg16_bn")
    assert str(caught.value).endswith("; replace or remove it.")
    assert all(value.equal(before[name]) for name, value in module.state_dict().items())


def test_a_missing_tensor_is_named(home):
    state = tensors()
    del state["features.7.weight"]
    save_file(state, home / "weights" / "vgg16_bn.safetensors")
    with pytest.raises(UserError, match=r"no float tensor 'features.7.weight'"):
        load_trunk_weights(trunk(), "vgg16_bn")


@pytest.mark.parametrize("cut", [0, 4, 100, 5000])
def test_a_truncated_file_is_an_error(home, cut):
    path = home / "weights" / "vgg16_bn.safetensors"
    save_file(tensors(), path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match="not a readable safetensors file"):
        load_trunk_weights(trunk(), "vgg16_bn")


def test_a_pickle_in_disguise_is_never_unpickled(home):
    path = home / "weights" / "vgg16_bn.safetensors"
    torch.save({"features.0.weight": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="not a readable safetensors file"):
        load_trunk_weights(trunk(), "vgg16_bn")


def test_a_folder_a_dangling_link_and_a_monstrous_file_are_errors(home):
    path = home / "weights" / "vgg16_bn.safetensors"
    path.mkdir()
    with pytest.raises(UserError, match="is not a file"):
        load_trunk_weights(trunk(), "vgg16_bn")
    path.rmdir()
    path.symlink_to(home / "nowhere")
    with pytest.raises(UserError, match="is not a file"):
        load_trunk_weights(trunk(), "vgg16_bn")
    path.unlink()
    with path.open("wb") as file:
        file.truncate(weights.LARGEST_BYTES + 1)  # sparse: takes no disk
    with pytest.raises(UserError, match="more than any trunk"):
        load_trunk_weights(trunk(), "vgg16_bn")


@pytest.fixture
def torchvision_at(monkeypatch):
    """Let torchvision name a file at an address of ours."""
    import torchvision.models

    def point(url):
        listed = SimpleNamespace(DEFAULT=SimpleNamespace(url=url, name="IMAGENET1K_V1"))
        monkeypatch.setattr(torchvision.models, "get_model_weights", lambda arch: listed)

    return point


@pytest.fixture
def pickled(tmp_path):
    """Torchvision's form of a file: (path, its name there, its SHA-256)."""
    path = tmp_path / "weights.pth"
    torch.save(tensors() | {"classifier.0.weight": torch.zeros(2, 2)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path, f"vgg16_bn-{digest[:8]}.pth", digest


def test_torchvisions_cache_is_used_before_the_network(home, torchvision_at, pickled, tmp_path):
    path, name, digest = pickled
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    path.rename(folder / name)
    torchvision_at(f"http://127.0.0.1:9/{name}")
    kept, module = torch.load(folder / name, weights_only=True), trunk()
    info = load_trunk_weights(module, "vgg16_bn")
    assert info == WeightsInfo("torchvision:vgg16_bn.IMAGENET1K_V1", digest, "vgg16_bn")
    for key, value in module.state_dict().items():
        torch.testing.assert_close(value, kept[key].to(value.dtype), rtol=0, atol=0)


def test_a_damaged_file_in_torchvisions_cache_is_fetched_anew(
    home, torchvision_at, pickled, tmp_path, monkeypatch
):
    path, name, digest = pickled
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"half of it")
    torchvision_at(f"http://127.0.0.1:9/{name}")
    monkeypatch.setattr(weights, "download", lambda url, to, **options: path.rename(to))
    assert load_trunk_weights(trunk(), "vgg16_bn").sha256 == digest


def test_a_download_is_said_once_however_often_it_is_heard_of(
    home, torchvision_at, pickled, tmp_path, monkeypatch
):
    path, name, digest = pickled

    def download(url, target, *, timeout_s, progress):
        target.parent.mkdir(parents=True)
        path.rename(target)
        for done in (1, 2, 3):
            progress(done, 3_000_000)

    monkeypatch.setattr(weights, "download", download)
    torchvision_at(f"http://127.0.0.1:9/{name}")
    said = []
    assert load_trunk_weights(trunk(), "vgg16_bn", say=said.append).sha256 == digest
    assert said == [f"Downloading ImageNet weights from http://127.0.0.1:9/{name} (3 MB)."]


@pytest.mark.parametrize("damaged", [False, True])
def test_a_download_is_checked_by_its_hash(
    home, torchvision_at, pickled, tmp_path, monkeypatch, damaged
):
    path, name, digest = pickled
    content = path.read_bytes()

    def download(url, target, *, timeout_s, progress):
        target.parent.mkdir(parents=True)
        target.write_bytes(content[:-1] if damaged else content)
        progress(len(content), len(content))
        return target

    monkeypatch.setattr(weights, "download", download)
    torchvision_at(f"http://127.0.0.1:9/{name}")
    said = []
    info = load_trunk_weights(trunk(), "vgg16_bn", say=said.append)
    assert said[0].startswith("Downloading ImageNet weights from http://127.0.0.1:9/")
    if damaged:
        assert info == WeightsInfo("random", None, "vgg16_bn")
        assert "is damaged" in said[1]
        assert not list(tmp_path.rglob("*hub*/**/*.pth"))
    else:
        assert info.sha256 == digest


@pytest.fixture
def silent_server():
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = []
        server.settimeout(0.1)
        over = threading.Event()

        def accept():
            while not over.is_set():
                try:
                    kept.append(server.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        over.set()
        thread.join()
        for connection in kept:
            connection.close()


def test_a_silent_network_is_given_up_and_the_user_is_told(
    home, monkeypatch, silent_server, torchvision_at
):
    from cellbench.data.download import download

    monkeypatch.setattr(weights, "download", download)
    torchvision_at(f"http://127.0.0.1:{silent_server}/vgg16_bn-12345678.pth")
    said = []
    info = load_trunk_weights(trunk(), "vgg16_bn", say=said.append, give_up_s=0.5)
    assert info == WeightsInfo("random", None, "vgg16_bn")
    (sentence,) = said
    assert sentence.endswith("the vgg16_bn trunk starts from random filters and will score worse.")
    assert str(home / "weights" / "vgg16_bn.safetensors") in sentence
    assert ". " not in sentence


def test_offline_nothing_is_asked(home, monkeypatch, torchvision_at):
    monkeypatch.setenv("CELLBENCH_OFFLINE", "1")
    torchvision_at("http://127.0.0.1:9/vgg16_bn-12345678.pth")
    said = []
    assert load_trunk_weights(trunk(), "vgg16_bn", say=said.append).source == "random"
    assert said[0].startswith("CELLBENCH_OFFLINE is set, so http://127.0.0.1:9/")


def test_an_architecture_that_torchvision_lacks_stays_random(home):
    said = []
    info = load_trunk_weights(torch.nn.Linear(2, 2), "vgg99", say=said.append)
    assert info == WeightsInfo("random", None, "vgg99")
    assert said[0].startswith("Torchvision has no weights called vgg99; ")
