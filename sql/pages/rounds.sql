-- Grain: one row per finished round: what the gate decided; the numbers of `selfexplore rounds`.
select
    round,
    parent,
    candidate,
    champion,
    promoted,
    decision,
    coalesce(decision_reason, '') as decision_reason,
    gain,
    gain_low,
    gain_high,
    1 - 2 * alpha_spent as gain_level,
    p_value,
    alpha_spent,
    test_gain,
    coalesce(alarms, []) as alarms,
    stop_reason
from rounds
order by round
