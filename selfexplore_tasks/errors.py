"""The errors a user can cause or must know about, each with a message that says what to do."""

from __future__ import annotations


class UserError(Exception):
    """Bad input or a missing prerequisite: one clear sentence, exit code 2, nothing written."""


class PromptTooLong(UserError, ValueError):
    """A prompt leaves no room for one new token in the model's context."""


class CheckFailed(Exception):
    """A check in ``sql/checks`` returned rows; the message names the check and the first offending rows."""
