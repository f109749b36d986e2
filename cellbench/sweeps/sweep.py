"""Run loop of a sweep: claim, start and monitor runs until none is missing."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cellbench.sweeps.claims import Claim, Heartbeat, remove_stale, take_claim
from cellbench.sweeps.executors import Executor
from cellbench.sweeps.failures import forget_failure, read_failure, write_failure
from cellbench.sweeps.gpus import Share
from cellbench.sweeps.plan import Plan, PlannedRun, State
from cellbench.sweeps.process import TaskOutcome, TaskResult
from cellbench.sweeps.reporting import Progress
from cellbench.sweeps.tasks import Task

# Interval between checks of the runs that other sweeps hold.
OTHERS_S = 5.0

# A hung run is restarted once: the method is seldom the cause, and it resumes where it stopped.
_MAX_HANGS = 2

# Reason of a failure for which the task gave none.
_NO_RECORD = "its record cannot be read"

TaskFor = Callable[[PlannedRun], Task]


class View:
    """Callbacks for the progress of a sweep; this base class ignores them."""

    def __enter__(self) -> Self:
        """Begin the display, before the first run starts."""
        return self

    def __exit__(self, *error: object) -> None:
        """End the display, after the last run has ended."""

    def unusable(self, problem: str) -> None:
        """Report a file of the store that is not a usable record."""

    def planned(self, plan: Plan, jobs: int, shares: Sequence[Share]) -> None:
        """Show the plan, the number of concurrent runs and the runs per GPU."""

    def complete(self, plan: Plan) -> None:
        """Report that no run of the plan is missing."""

    def say(self, text: str) -> None:
        """Show a sentence."""

    def started(self, run: PlannedRun, place: str) -> None:
        """Report that a run has started."""

    def moved(self, run: PlannedRun, progress: Progress) -> None:
        """Show new progress of a run."""

    def ended(self, run: PlannedRun, seconds: float) -> None:
        """Report that a run has ended; its state is done, failed or missing."""

    def tick(self) -> None:
        """Refresh the display; called in every pass of the run loop."""


@dataclass(slots=True)
class _Active:
    run: PlannedRun
    claim: Claim
    task: Task
    hangs: int = 0


class Sweep:
    """Run loop for the missing runs of a plan: one call of `cellbench compare`."""

    def __init__(
        self,
        plan: Plan,
        executor: Executor,
        task_for: TaskFor,
        *,
        view: View | None = None,
        retry_failed: bool = False,
        wait_for_others: bool = True,
    ) -> None:
        """Set the sweep up.

        Args:
            plan: the plan; the states of its runs are updated.
            executor: runs the tasks.
            task_for: creates the task of a run.
            view: receives progress.
            retry_failed: start failed runs again.
            wait_for_others: wait until the runs that other sweeps hold have ended, and take over
                those whose sweep dies.
        """
        self.plan = plan
        self.executor = executor
        self.task_for = task_for
        self.view = view or View()
        self.wait_for_others = wait_for_others
        wanted = {State.MISSING, State.FAILED} if retry_failed else {State.MISSING}
        self._waiting = deque(run for run in plan.runs if run.state in wanted)
        self._others = plan.in_state(State.ELSEWHERE)
        self._active: dict[str, _Active] = {}
        self._restarts: deque[str] = deque()  # keys of active runs that wait for a restart
        self._others_checked_at = time.monotonic()

    def run(self) -> None:
        """Run the missing runs.

        Raises:
            KeyboardInterrupt: the user asked to stop. Started runs are stopped first and given
                time to save a checkpoint.
            UserError: a folder cannot be written; started runs are stopped the same way.
        """
        with Heartbeat() as beat:
            try:
                while self._step(beat):
                    pass
            except BaseException:
                self._stop(beat)
                raise

    def _step(self, beat: Heartbeat) -> bool:
        """Start runs and handle events; return False when nothing is left."""
        while (self._restarts or self._waiting) and self.executor.free():
            if self._restarts:
                self._start_again(self._restarts.popleft())
            else:
                self._start(self._waiting.popleft(), beat)
        if not self._active and not self._waiting and not (self._others and self.wait_for_others):
            return False
        for event in self.executor.wait(1.0):
            if isinstance(event.news, Progress):
                self.view.moved(self._active[event.key].run, event.news)
            else:
                self._handle_ending(event.key, event.news, beat)
        if self._others and time.monotonic() - self._others_checked_at > OTHERS_S:
            self._check_others()
        self.view.tick()
        return True

    def _start(self, run: PlannedRun, beat: Heartbeat) -> None:
        claim = take_claim(run.folder)
        if claim is None:
            run.state = State.ELSEWHERE
            self._others.append(run)
            return
        beat.hold(claim)
        if self._ended_elsewhere(run):
            beat.drop(claim)
            return
        forget_failure(run.folder)
        run.failure, run.state = None, State.MISSING
        active = _Active(run, claim, self.task_for(run))
        self._active[str(run.folder)] = active
        self.view.started(run, self.executor.start(str(run.folder), active.task))

    def _start_again(self, key: str) -> None:
        active = self._active[key]
        self.view.started(active.run, self.executor.start(key, active.task))

    def _ended_elsewhere(self, run: PlannedRun) -> bool:
        """Whether a run was finished, or failed, in another sweep since the plan was made."""
        run.record = self.plan.finished.update(run.dataset, run.experiment.key)
        if run.record is not None:
            run.state = State.DONE
            return True
        failure = read_failure(run.folder)
        if failure is not None and (run.failure is None or failure.when != run.failure.when):
            run.state, run.failure = State.FAILED, failure
            return True
        return False

    def _handle_ending(self, key: str, ending: TaskResult, beat: Heartbeat) -> None:
        """Start a run again if that may help; else set its final state and release its claim."""
        if self._retry(key, ending):
            return
        active = self._active.pop(key)
        run = active.run
        match ending.end:
            case TaskOutcome.DONE:
                self._accept_record(run, ending)
            case TaskOutcome.STOPPED:
                self.view.say(f"{run.label}: {ending.reason}; the same command goes on with it.")
            case TaskOutcome.FAILED | TaskOutcome.HUNG | TaskOutcome.LOST:
                self._fail(run, ending, ending.reason or _NO_RECORD)
        beat.drop(active.claim)
        self.view.ended(run, ending.seconds)

    def _retry(self, key: str, ending: TaskResult) -> bool:
        """Start a run again that hung once, or that lacked memory if it can have more."""
        active = self._active[key]
        if ending.end is TaskOutcome.HUNG:
            active.hangs += 1
            if active.hangs < _MAX_HANGS:
                self.view.say(f"{active.run.label}: {ending.reason}; it is started once more.")
                self._start_again(key)
                return True
        if ending.out_of_memory:
            change = self.executor.after_out_of_memory(key)
            if change is not None:
                self.view.say(
                    f"{active.run.label} ran out of memory: {change}, and it starts again."
                )
                self._restarts.append(key)
                return True
        return False

    def _accept_record(self, run: PlannedRun, ending: TaskResult) -> None:
        """Mark a run as done if its record is usable and of the dataset here; else as failed."""
        found = None if ending.record is None else self.plan.finished.add(Path(ending.record))
        if found is None:
            self._fail(run, ending, ending.reason or _NO_RECORD)
        elif run.experiment.manifest_hash not in (None, found.manifest_hash):
            self._fail(run, ending, f"it saw another revision of {run.dataset} than is here")
        else:
            run.record, run.state = found, State.DONE

    def _fail(self, run: PlannedRun, ending: TaskResult, reason: str) -> None:
        """Mark a run as failed, and write the reason to its folder."""
        run.state = State.FAILED
        run.failure = write_failure(
            run.folder,
            run=run.label,
            reason=reason,
            command=run.command,
            seconds=ending.seconds,
        )

    def _check_others(self) -> None:
        """Update the runs that other sweeps held: done, failed, or waiting again."""
        self._others_checked_at = time.monotonic()
        others, self._others = self._others, []
        for run in others:
            if self._ended_elsewhere(run):
                self.view.ended(run, 0.0)
            else:
                # If it is still held, its claim fails and it returns to the others.
                self._waiting.append(run)

    def _stop(self, beat: Heartbeat) -> None:
        """Stop every run after it has saved a checkpoint; a second Ctrl-C ends them at once."""
        self.executor.stop()
        while self._restarts:
            beat.drop(self._active.pop(self._restarts.popleft()).claim)
        try:
            self._drain(beat)
        except KeyboardInterrupt:
            self.executor.stop(at_once=True)
            self._drain(beat)

    def _drain(self, beat: Heartbeat) -> None:
        """Wait for the end of the runs that were asked to stop; some end with a record."""
        deadline = time.monotonic() + 90.0
        while self._active and time.monotonic() < deadline:
            for event in self.executor.wait(1.0):
                if isinstance(event.news, TaskResult):
                    active = self._active.pop(event.key, None)
                    if active is None:
                        continue
                    if event.news.end is TaskOutcome.DONE:
                        self._accept_record(active.run, event.news)
                    beat.drop(active.claim)


def remove_stale_claims(plan: Plan) -> None:
    """Remove claims on finished runs, left by a sweep that was killed before it released them."""
    for run in plan.in_state(State.DONE):
        remove_stale(run.folder)
