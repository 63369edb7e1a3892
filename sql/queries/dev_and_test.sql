-- Is the gain on dev also there on test, or was dev flattered by choosing on it?
select
    experiment,
    round,
    candidate,
    decision,
    round(100 * gain, 1) as dev_gain,
    round(100 * test_gain, 1) as test_gain,
    round(100 * gain_gap, 1) as gap
from rounds
where gain is not null
order by experiment, round
