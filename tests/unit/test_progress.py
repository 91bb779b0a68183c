"""A loop with work that makes no step is stuck, and an idle one never is."""

from greeks_trio.monitoring.progress import Loop, ProgressWatch


class Worker:
    def __init__(self):
        self.has_work, self.steps = True, 0

    def loop(self):
        return Loop(
            name="writer",
            has_work=lambda: self.has_work,
            steps=lambda: self.steps,
            limit_s=30.0,
        )


def test_a_loop_without_a_step_is_stuck_after_its_limit_and_works_again():
    worker = Worker()
    watch = ProgressWatch([worker.loop()])

    assert watch.stuck(100.0) == {}
    assert watch.stuck(130.0) == {}
    sentence = watch.stuck(131.0)["writer"]
    worker.steps = 1

    assert "has had work for 31 s" in sentence
    assert watch.stuck(132.0) == {}
    assert watch.stuck(163.0).keys() == {"writer"}


def test_an_idle_loop_is_never_stuck():
    worker = Worker()
    worker.has_work = False
    watch = ProgressWatch([worker.loop()])

    assert watch.stuck(0.0) == {}
    assert watch.stuck(1e6) == {}
    worker.has_work = True

    # Its time begins with the work.
    assert watch.stuck(1e6 + 10) == {}
    assert watch.stuck(1e6 + 31).keys() == {"writer"}
