"""The queue: order, waiting, failure."""

from __future__ import annotations

import dataclasses

from mtlbench.execution.queue import Answer, Queue
from mtlbench.spec import Trial
from tests.support.stores import TRIAL


def trial(name: str, *parents: Trial) -> Trial:
    return dataclasses.replace(TRIAL, arm=name, fingerprint=name, parents=tuple(p.key for p in parents))


def give(queue: Queue) -> str:
    answer = queue.next()
    assert isinstance(answer, Trial)
    return answer.arm


A, B = trial("a"), trial("b")
CHILD = trial("child", A, B)
GRANDCHILD = trial("grandchild", CHILD)
ALL = [A, B, CHILD, GRANDCHILD]


def test_children_start_when_all_their_parents_are_done() -> None:
    queue = Queue(ALL, (), lambda t: 1.0)
    assert {give(queue), give(queue)} == {"a", "b"}
    assert queue.next() is Answer.WAIT
    queue.end(A.key)
    assert queue.next() is Answer.WAIT
    queue.end(B.key)
    assert queue.next() == CHILD
    queue.end(CHILD.key)
    assert queue.next() == GRANDCHILD
    queue.end(GRANDCHILD.key)
    assert queue.next() is Answer.FINISHED


def test_finished_trials_are_not_handed_out() -> None:
    queue = Queue(ALL, {A.key, B.key}, lambda t: 1.0)
    assert queue.next() == CHILD


def test_the_longest_path_goes_first() -> None:
    long, short, parent = trial("long"), trial("short"), trial("parent")
    child = trial("kid", parent)
    work = {long.key: 5.0, short.key: 1.0, parent.key: 3.0, child.key: 4.0}
    queue = Queue([short, long, parent, child], (), lambda t: work[t.key])
    assert [queue.next() for _ in range(3)] == [parent, long, short]


def test_children_of_a_failed_trial_are_blocked_and_never_waited_for() -> None:
    other = trial("other")
    queue = Queue([*ALL, other], (), lambda t: 1.0)
    started = {give(queue) for _ in range(3)}
    assert started == {"a", "b", "other"}
    queue.end(A.key, "out of memory")
    queue.end(B.key)
    assert queue.next() is Answer.WAIT
    queue.end(other.key)
    assert queue.next() is Answer.FINISHED
    assert [(b.trial, b.because_of) for b in queue.list_blocked()] == [(CHILD, A), (GRANDCHILD, A)]
