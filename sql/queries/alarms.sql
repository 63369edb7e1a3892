-- Which alarms did preference training raise?
select
    experiment,
    round,
    candidate,
    decision,
    unnest(alarms) as alarm
from rounds
order by experiment, round
