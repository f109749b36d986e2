"""What the fork server of a test has a run do: the first argument after the option list says it."""

import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

seen = []


def main(arguments):
    """Do as ordered; the orders are in the run's config file, or come first."""
    seen.append(arguments)
    in_file = arguments[0] == "run"  # as a sweep starts it
    order = Path(arguments[1]).read_text().strip() if in_file else arguments[0]
    globals()[order](arguments)


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def done(arguments):
    report = Path(arguments[arguments.index("--report") + 1])
    record = report.with_name("record.json")
    record.write_text("{}")
    report.write_text(json.dumps({"phase": "done", "step": 3, "record": str(record)}))
    say("forked")


def waits(arguments):
    from cellbench.sweeps.reporting import stop_with_parent

    stop_with_parent()
    say("ready")
    time.sleep(600)


def facts(arguments):
    say(
        json.dumps(
            {
                "pid": os.getpid(), "session": os.getsid(0), "group": os.getpgid(0),
                "server": os.getppid(), "given": os.environ.get("GIVEN"), "argv": sys.argv,
                "seen": len(seen), "open": len(list(Path("/proc/self/fd").iterdir())),
                "threads": getattr(sys.modules.get("torch"), "threads", None),
            }
        )
    )  # fmt: skip


def exits(arguments):
    sys.exit(int(arguments[1]))


def says(arguments):
    sys.exit(arguments[1])


def raises(arguments):
    raise ValueError("three  spaces")


def killed(arguments):
    os.kill(os.getpid(), 9)


def memory(arguments):
    raise MemoryError


class _Torch(SimpleNamespace):
    def set_num_threads(self, count):
        self.threads = count


def fake_torch(**parts):
    sys.modules["torch"] = _Torch(threads=None, **parts)


def started_driver(*, gpus):
    """As `torch.cuda` answers in a process that was forked after CUDA's driver had started."""
    return SimpleNamespace(_is_in_bad_fork=lambda: True, is_available=lambda: gpus > 0)
