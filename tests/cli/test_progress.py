import io

from rich.console import Console

from cellbench.cli import progress as module
from cellbench.cli.progress import RunProgress, reported, terminal_display, work_progress


def lines(steps, **options):
    out = io.StringIO()
    progress = RunProgress(Console(file=out, width=120, **options))
    progress.start(len(steps))
    for done, (loss, mae) in enumerate(steps, start=1):
        progress.step(done, loss, mae)
    progress.stop()
    return out.getvalue()


def test_a_file_gets_a_line_for_every_new_validation_and_the_last_step():
    said = lines([(0.9, None), (0.8, None), (0.7, 12.5), (0.6, 12.5), (0.5, 11.0)])
    assert [line.split()[1] for line in said.splitlines()] == ["1/5", "3/5", "5/5"]
    assert "validation MAE 12.50" in said
    assert "0 s left" in said


def test_a_terminal_gets_a_bar_with_loss_mae_and_time():
    said = lines([(0.9, None), (0.5, 11.0)], force_terminal=True)
    assert "2/2" in said
    assert "validation MAE 11.00" in said
    assert "loss 0.5000" in said


def test_the_time_left_knows_that_stages_differ(monkeypatch):
    """Ten steps of 9 s, then 90 of 1 s: after the first ten, half of the time is left."""
    out = io.StringIO()
    progress = RunProgress(Console(file=out, width=120))
    clock = iter([0.0, 81.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    progress.start(100, lambda done: min(done, 10) * 9 + max(0, done - 10) * 1)
    progress.step(1, 0.9, None)
    progress.step(10, 0.8, 1.0)
    assert out.getvalue().splitlines()[-1].endswith("1 min 30 s left")


def pictures(parts, **options):
    out = io.StringIO()
    console = Console(file=out, width=120, **options)
    with work_progress(console, "counting", "% of the pictures", sum(parts)) as advance:
        for part in parts:
            advance(part)
    return out.getvalue()


def test_a_terminal_sees_how_far_the_pictures_are():
    assert "100%" in pictures([300, 700], force_terminal=True)


def test_a_file_gets_a_line_now_and_then_by_the_pictures_size(monkeypatch):
    assert pictures([300, 700]) == ""  # it took no time
    clock = iter([0.0, 10.0, 40.0, 50.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    assert pictures([100, 300, 600]) == "40 % of the pictures  1 min 00 s left\n"


def test_without_a_picture_that_can_be_read_nothing_is_said():
    assert pictures([]) == ""


def test_a_validation_is_a_bar_under_that_of_the_steps():
    out = io.StringIO()
    progress = RunProgress(Console(file=out, width=120, force_terminal=True))
    progress.start(3)
    progress.step(1, 0.5, None)
    with progress.task("validation", 8) as advance:
        for _ in range(8):
            advance(1)
        progress.bar.refresh()
    progress.step(2, 0.5, 11.0)
    assert len(progress.bar.tasks) == 1
    progress.stop()
    assert "validation" in out.getvalue()
    assert "8/8" in out.getvalue()
    assert "training" in out.getvalue()


def test_scoring_is_a_bar_of_its_own():
    out = io.StringIO()
    progress = RunProgress(Console(file=out, width=120, force_terminal=True))
    with progress.task("scoring", 4) as advance:
        advance(4)
    assert "scoring" in out.getvalue()
    assert "100%" in out.getvalue()


def test_a_log_gets_a_line_of_a_long_validation_and_none_of_a_short_one(monkeypatch):
    out = io.StringIO()
    progress = RunProgress(Console(file=out, width=120))
    with progress.task("validation", 8) as advance:
        advance(8)
    assert out.getvalue() == ""
    clock = iter([0.0, 10.0, 40.0, 50.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with progress.task("validation", 8) as advance:
        advance(2)
        advance(2)
        advance(4)
    assert out.getvalue() == "50 % of the validation  40 s left\n"


def test_a_task_of_unknown_length_is_shown_all_the_same(monkeypatch):
    out = io.StringIO()
    progress = RunProgress(Console(file=out, width=120))
    clock = iter([0.0, 40.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with progress.task("scoring", 0) as advance:
        advance(2)
    assert out.getvalue() == ""


def test_a_report_passes_tasks_on(tmp_path):
    from cellbench.sweeps.reporting import ProgressFile

    display = terminal_display(Console(file=io.StringIO()))
    assert reported(display, ProgressFile(tmp_path / "report.json")).task == display.task


def test_a_path_with_brackets_is_said_as_it_is():
    stream = io.StringIO()
    terminal_display(Console(file=stream, width=200)).say(
        "The pictures of x[/red]/DLA[a=b] are here."
    )
    assert stream.getvalue() == "The pictures of x[/red]/DLA[a=b] are here.\n"
