"""The sweep: claims, starts, watches and counts runs until none is missing."""

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
from cellbench.sweeps.process import End, Ending
from cellbench.sweeps.reporting import Progress
from cellbench.sweeps.tasks import Task

# How often the runs of other sweeps are looked at.
OTHERS_S = 5.0

# A hang is started once more: it is seldom the method's own, and it goes on where it was.
_HANGS = 2

TaskFor = Callable[[PlannedRun], Task]


class View:
    """Where a sweep shows its progress; here nowhere."""

    def __enter__(self) -> Self:
        """Before the first run starts."""
        return self

    def __exit__(self, *error: object) -> None:
        """After the last run has ended."""

    def unusable(self, problem: str) -> None:
        """A file of the store is no usable record; a sentence."""

    def planned(self, plan: Plan, jobs: int, shares: Sequence[Share]) -> None:
        """The plan is made: runs at once, and how GPUs are shared."""

    def complete(self, plan: Plan) -> None:
        """Nothing of the plan is missing."""

    def say(self, text: str) -> None:
        """A sentence."""

    def started(self, run: PlannedRun, place: str) -> None:
        """A run has a process."""

    def moved(self, run: PlannedRun, progress: Progress) -> None:
        """A run is further than before."""

    def ended(self, run: PlannedRun, seconds: float) -> None:
        """Move a run to done or failed by its state, or back to the missing ones."""

    def tick(self) -> None:
        """Some time has passed."""


@dataclass(slots=True)
class _Active:
    run: PlannedRun
    claim: Claim
    task: Task
    hangs: int = 0


class Sweep:
    """One call of `cellbench compare`."""

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
            plan: what is wanted; the states of its runs are kept up to date.
            executor: where tasks run.
            task_for: makes the task of a run.
            view: is told.
            retry_failed: start failed runs again.
            wait_for_others: stay until the runs that other sweeps hold have ended, and take over
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
        self._again: deque[str] = deque()  # of the active ones, those without a process
        self._looked_at = time.monotonic()

    def run(self) -> None:
        """Run what is missing.

        Raises:
            KeyboardInterrupt: the user asked to stop; every started run has saved its step.
            UserError: a folder cannot be written; the same is true then.
        """
        with Heartbeat() as beat:
            try:
                while self._step(beat):
                    pass
            except BaseException:
                self._stop(beat)
                raise

    def _step(self, beat: Heartbeat) -> bool:
        """Start what can start, take in what has happened; False when nothing is left."""
        while (self._again or self._waiting) and self.executor.free():
            if self._again:
                self._start_again(self._again.popleft())
            else:
                self._start(self._waiting.popleft(), beat)
        if not self._active and not self._waiting and not (self._others and self.wait_for_others):
            return False
        for event in self.executor.wait(1.0):
            if isinstance(event.news, Progress):
                self.view.moved(self._active[event.key].run, event.news)
            else:
                self._take(event.key, event.news, beat)
        if self._others and time.monotonic() - self._looked_at > OTHERS_S:
            self._look_at_others()
        self.view.tick()
        return True

    def _start(self, run: PlannedRun, beat: Heartbeat) -> None:
        claim = take_claim(run.folder)
        if claim is None:
            run.state = State.ELSEWHERE
            self._others.append(run)
            return
        beat.hold(claim)
        if self._settled(run):
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

    def _settled(self, run: PlannedRun) -> bool:
        """Whether another sweep has finished a run, or failed at it, since the plan was made."""
        run.record = self.plan.finished.update(run.dataset, run.experiment.key)
        if run.record is not None:
            run.state = State.DONE
            return True
        failure = read_failure(run.folder)
        if failure is not None and (run.failure is None or failure.when != run.failure.when):
            run.state, run.failure = State.FAILED, failure
            return True
        return False

    def _take(self, key: str, ending: Ending, beat: Heartbeat) -> None:
        active = self._active[key]
        run = active.run
        if ending.end is End.HUNG:
            active.hangs += 1
            if active.hangs < _HANGS:
                self.view.say(f"{run.label}: {ending.reason}; it is started once more.")
                self._start_again(key)
                return
        if ending.out_of_memory:
            change = self.executor.after_out_of_memory(key)
            if change is not None:
                self.view.say(f"{run.label} ran out of memory: {change}, and it starts again.")
                self._again.append(key)
                return
        del self._active[key]
        if ending.end is End.DONE and ending.record is not None:
            run.record = self.plan.finished.add(Path(ending.record))
        reason = ending.reason or "its record cannot be read"
        known = run.experiment.manifest_hash
        if run.record is not None and known not in (None, run.record.manifest_hash):
            run.record, reason = None, f"it saw another revision of {run.dataset} than is here"
        if run.record is not None:
            run.state = State.DONE
        elif ending.end is End.STOPPED:
            self.view.say(f"{run.label}: {ending.reason}; the same command goes on with it.")
        else:
            run.state = State.FAILED
            run.failure = write_failure(
                run.folder,
                run=run.label,
                reason=reason,
                command=run.command,
                seconds=ending.seconds,
            )
        beat.drop(active.claim)
        self.view.ended(run, ending.seconds)

    def _look_at_others(self) -> None:
        """Runs that other sweeps hold: done, failed, or free again."""
        self._looked_at = time.monotonic()
        others, self._others = self._others, []
        for run in others:
            if self._settled(run):
                self.view.ended(run, 0.0)
            else:
                # The claim decides; a run that is still held comes back to the others.
                self._waiting.append(run)

    def _stop(self, beat: Heartbeat) -> None:
        """Have every run save its step; a second Ctrl-C ends them at once."""
        self.executor.stop()
        while self._again:
            beat.drop(self._active.pop(self._again.popleft()).claim)
        try:
            self._drain(beat)
        except KeyboardInterrupt:
            self.executor.stop(at_once=True)
            self._drain(beat)

    def _drain(self, beat: Heartbeat) -> None:
        deadline = time.monotonic() + 90.0
        while self._active and time.monotonic() < deadline:
            for event in self.executor.wait(1.0):
                if isinstance(event.news, Ending):
                    active = self._active.pop(event.key, None)
                    if active is None:
                        continue
                    if event.news.end is End.DONE and event.news.record is not None:
                        active.run.record = self.plan.finished.add(Path(event.news.record))
                        active.run.state = State.DONE
                    beat.drop(active.claim)


def remove_stale_claims(plan: Plan) -> None:
    """Remove the claims on finished runs of a sweep that was killed before it released them."""
    for run in plan.in_state(State.DONE):
        remove_stale(run.folder)
