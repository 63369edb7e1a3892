-- Which candidates became the champion, and by how much were they better?
select
    experiment,
    round,
    candidate,
    parent,
    decision,
    round(100 * gain, 1) as gain_points,
    round(100 * gain_low, 1) as gain_low,
    round(100 * gain_high, 1) as gain_high,
    p_value,
    alpha_spent,
    round(100 * test_gain, 1) as test_gain_points,
    champion,
    stop_reason
from rounds
order by experiment, round
