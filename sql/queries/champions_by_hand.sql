-- In which rounds did a person decide on the champion, and why?
select
    experiment,
    round,
    decision,
    candidate,
    champion,
    decision_reason
from rounds
where
    decision in ('set_by_hand', 'rejected')
    or decision_reason like '%; approved by %'
order by experiment, round
