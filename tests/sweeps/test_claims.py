import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from cellbench.sweeps import claims
from cellbench.sweeps.claims import Heartbeat, holder_of, remove_stale, take_claim


def write_claim(folder, **changed):
    folder.mkdir(parents=True, exist_ok=True)
    mine = {
        "place": claims.host_id(),
        "pid": os.getpid(),
        "started": claims.process_start(os.getpid()),
        "token": "t",
    }
    (folder / "claim.json").write_text(json.dumps({**mine, **changed}))


def age(folder, seconds):
    file = folder / "claim.json"
    then = file.stat().st_mtime - seconds
    os.utime(file, (then, then))


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = claims.process_start(process.pid)
    process.communicate()
    return {"pid": process.pid, "started": started}


def test_a_held_run_is_claimed_by_nobody_else_and_a_released_one_by_the_next(tmp_path):
    first = take_claim(tmp_path)
    assert take_claim(tmp_path) is None
    assert holder_of(tmp_path).pid == os.getpid()
    first.release()
    assert holder_of(tmp_path) is None
    assert take_claim(tmp_path) is not None


def test_of_many_that_want_a_run_one_gets_it(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: take_claim(tmp_path), range(64)))
    assert sum(claim is not None for claim in found) == 1


def test_of_many_that_recover_a_stale_claim_one_gets_it(tmp_path):
    write_claim(tmp_path, **dead_process())
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: take_claim(tmp_path), range(64)))
    assert sum(claim is not None for claim in found) == 1


def test_a_dead_process_holds_nothing(tmp_path):
    write_claim(tmp_path, **dead_process())
    assert holder_of(tmp_path) is None
    assert take_claim(tmp_path) is not None


def test_a_stale_claim_is_removed_and_one_that_is_held_stays(tmp_path):
    write_claim(tmp_path / "dead", **dead_process())
    write_claim(tmp_path / "held")
    for name in ("dead", "held", "none"):
        remove_stale(tmp_path / name)
    assert not (tmp_path / "dead" / "claim.json").exists()
    assert (tmp_path / "held" / "claim.json").exists()
    assert not (tmp_path / "none").exists()


def test_a_process_that_got_the_number_of_a_dead_one_holds_nothing(tmp_path):
    write_claim(tmp_path, started="1")
    assert take_claim(tmp_path) is not None


def test_another_machines_claim_is_held_while_it_is_touched_and_stale_after(tmp_path):
    write_claim(tmp_path, place="node7 boot pid:[1]", **dead_process())
    assert holder_of(tmp_path).host == "node7"
    assert take_claim(tmp_path) is None
    age(tmp_path, claims.STALE_S + 1)
    assert holder_of(tmp_path) is None
    assert take_claim(tmp_path) is not None


def test_a_torn_claim_is_believed_only_while_it_is_young(tmp_path):
    (tmp_path / "claim.json").write_text('{"place": "no')
    assert take_claim(tmp_path) is None
    age(tmp_path, claims.STALE_S + 1)
    assert take_claim(tmp_path) is not None


def test_releasing_a_claim_that_was_taken_over_leaves_the_new_one(tmp_path):
    old = take_claim(tmp_path)
    write_claim(tmp_path, token="new")
    old.release()
    assert holder_of(tmp_path).token == "new"


def test_a_heartbeat_keeps_claims_young_and_releases_them_at_the_end(tmp_path, monkeypatch):
    import time

    monkeypatch.setattr(claims, "HEARTBEAT_S", 0.01)
    with Heartbeat() as beat:
        beat.hold(take_claim(tmp_path))
        age(tmp_path, 1000)
        before = (tmp_path / "claim.json").stat().st_mtime
        deadline = time.monotonic() + 20
        while (tmp_path / "claim.json").stat().st_mtime < before + 900:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert not (tmp_path / "claim.json").exists()


def test_nothing_but_the_claim_is_left_beside_it(tmp_path):
    take_claim(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".claim.lock", "claim.json"]


def test_a_claim_that_a_kill_left_unfinished_is_removed(tmp_path):
    gone = claims.Holder(claims.host_id(), 2**22, "1", "gone")
    left = tmp_path / ".claim.json.gone"
    left.write_text(json.dumps(asdict(gone)))
    alive = claims.Holder(claims.host_id(), os.getpid(), claims.process_start(os.getpid()), "me")
    being_made = tmp_path / ".claim.json.me"
    being_made.write_text(json.dumps(asdict(alive)))
    claims.remove_stale(tmp_path)
    assert not left.exists()
    assert being_made.exists()
