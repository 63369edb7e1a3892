"""Bringing samples in and taking pairs out.

``rationales`` and ``rollouts`` turn a file made elsewhere into what the stages ``sample`` and ``explore`` would have
written, graded by our grader; the stages behind them cannot tell the difference. ``exports`` writes preference pairs
for other trainers.
"""
