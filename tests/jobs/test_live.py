from __future__ import annotations

import pytest

from webui.domain.events import Loading, Previewed, Stepped
from webui.jobs.live import Live, Pace


def stepped(step: int, batch: int = 0, batches: int = 1, steps: int = 10) -> Stepped:
    return Stepped(batch=batch, batches=batches, step=step, steps=steps)


def test_no_estimate_before_a_step() -> None:
    pace = Pace()
    pace.begin(100.0)
    assert pace.remaining(stepped(1), 100.0) is None


def test_the_estimate_is_steps_left_times_step_time() -> None:
    pace = Pace()
    pace.begin(100.0)
    pace.stepped(stepped(1), 102.0)
    pace.stepped(stepped(2), 104.0)
    assert pace.remaining(stepped(2), 104.0) == pytest.approx(16.0)
    assert pace.remaining(stepped(2), 105.0) == pytest.approx(15.0)
    assert pace.remaining(stepped(2), 999.0) == 0.0


def test_loading_a_model_does_not_count_as_a_step() -> None:
    pace = Pace()
    pace.begin(100.0)
    pace.loading()
    pace.stepped(stepped(1), 160.0)
    assert pace.remaining(stepped(1), 160.0) is None
    pace.stepped(stepped(2), 161.0)
    assert pace.remaining(stepped(2), 161.0) == pytest.approx(8.0)


def test_decoding_between_batches_counts_once_for_each_batch_left() -> None:
    pace = Pace()
    pace.begin(0.0)
    pace.stepped(stepped(1, 0, batches=3, steps=2), 1.0)
    pace.stepped(stepped(2, 0, batches=3, steps=2), 2.0)
    pace.stepped(stepped(1, 1, batches=3, steps=2), 8.0)  # 5 s of decoding and a step of 1 s
    assert pace.remaining(stepped(1, 1, batches=3, steps=2), 8.0) == pytest.approx(3 * 1.0 + 5.0)


def test_slower_steps_move_the_estimate_slowly() -> None:
    pace = Pace()
    pace.begin(0.0)
    pace.stepped(stepped(1), 1.0)
    pace.stepped(stepped(2), 4.0)  # 3 s instead of 1 s
    left = pace.remaining(stepped(2), 4.0)
    assert left is not None and 8 * 1.0 < left < 8 * 3.0


def test_a_reader_gets_only_the_newest_of_each_kind() -> None:
    live = Live()
    live.begin()
    version, _ = live.newer(0)
    live.tell(stepped(1))
    live.show(b"first")
    live.tell(stepped(2))
    live.show(b"second")
    version, events = live.newer(version)
    assert events == (stepped(2), Previewed(number=2)) and live.preview == b"second"
    assert live.newer(version)[1] == ()


def test_a_step_ends_the_loading() -> None:
    live = Live()
    live.tell(Loading(model="a"))
    assert live.step() == Loading(model="a")
    live.tell(stepped(1))
    assert live.step() == stepped(1)


def test_a_new_attempt_forgets_the_old_one() -> None:
    live = Live()
    live.tell(stepped(5))
    live.begin()
    assert live.step() is None and live.eta() is None and live.newer(0)[1] == ()
