import json

from cellbench import plugin_index


def test_the_list_names_every_part_with_role_source_and_distribution(command):
    done = command("plugins", "--format", "json")
    parts = json.loads(done.stdout)
    assert {(p["role"], p["name"]) for p in parts} >= {
        ("matcher", "KHM"),
        ("matcher", "Hungarian"),
        ("decoder", "FPN"),
        ("decoder", "GFD"),
        ("conv", "Standard"),
        ("conv", "Deformable"),
        ("conv", "MDGC"),
        ("head", "PointHead"),
        ("head", "PeakHead"),
        ("simulator", "dcc-sim"),
    }
    for part in parts:
        assert part["summary"], part
        assert part["distribution"], part
        if part["role"] not in ("transform",):
            assert part["source"], part


def test_show_gives_signature_documentation_and_place(command):
    done = command("plugins", "show", "KHM")
    entry = plugin_index.find("matcher", "KHM")[0]
    assert done.returncode == 0
    assert "k: int=5" in done.stdout
    assert f"{entry.file}:{entry.line}" in done.stdout
    assert "Eq. 1" in done.stdout


def test_a_wrong_name_offers_the_nearest_and_exits_2(command):
    done = command("plugins", "show", "KMH")
    assert done.returncode == 2
    assert "did you mean KHM?" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_toy_plugin_of_a_third_party_is_listed():
    # Installed by the README's test command from tests/toy_plugin.
    entry = plugin_index.find("matcher", "GreedyNearest")[0]
    assert entry.distribution == "cellbench-toy"
