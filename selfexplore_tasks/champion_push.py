"""Putting a champion on the Hub: its folder with the model card, as one commit of a model repository."""

from __future__ import annotations

import os
import re

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.store.champions import champion, fetch_champion, refresh_link
from selfexplore_tasks.store.experiments import load_experiment
from selfexplore_tasks.store.home import Store

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGINGFACE_TOKEN")
REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def push_champion(store: Store, slug: str, repo: str, *, is_private: bool = False, token: str | None = None) -> str:
    """Upload the champion to ``owner/name``, made if it does not exist; returns the address of the commit.

    What is there already is not sent again. ``HF_ENDPOINT`` names another Hub. Without a ``token`` the environment's
    is taken, or that of `hf auth login`.

    Raises:
        UserError: no champion, no token, a bad name, or the Hub refused it or cannot be reached.
    """
    load_experiment(store, slug)
    if not REPO.fullmatch(repo):
        raise UserError(f"{repo!r} names no repository: give owner/name, e.g. --repo me/gsm8k-self-explore.")
    model_id = champion(store, slug).model_id
    fetch_champion(store, slug)
    link = refresh_link(store, slug)
    if link.readlink().is_absolute():
        raise UserError(f"The champion of {slug!r} is the base model the recipe names: there is nothing new to push.")
    usable = _usable(token or _found_token())
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    hub = HfApi(token=usable)
    try:
        hub.create_repo(repo, private=is_private or None, exist_ok=True)
        done = hub.upload_folder(
            repo_id=repo,
            folder_path=link.resolve(),
            commit_message=f"{slug}: {model_id}",
            ignore_patterns=[".*", "*.tmp"],
        )
    except HfHubHTTPError as error:
        told = error.server_message or error.response.reason_phrase
        raise UserError(f"The Hub refused to take {repo} ({error.response.status_code}: {told}).") from error
    except (httpx2.HTTPError, OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{repo} could not be pushed ({_first_line(error)}): check the network and run it again, what is there "
            "already is not sent again."
        ) from error
    return done.commit_url


def _found_token() -> str:
    from huggingface_hub import get_token

    return next((os.environ[name] for name in TOKEN_VARIABLES if os.environ.get(name)), None) or get_token() or ""


def _usable(token: str) -> str:
    """The token, stripped; it is put in no message and no file."""
    # A header cannot carry anything else, and the error of one that does would show it.
    if not re.fullmatch(r"[\x21-\x7e]+", token.strip()):
        raise UserError(f"There is no usable Hub token: set {TOKEN_VARIABLES[0]}, or log in with `hf auth login`.")
    return token.strip()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
