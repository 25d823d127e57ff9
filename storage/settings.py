"""Settings of the process: environment variables that begin with TALKIES_."""

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What the environment sets; the command line's options come before it."""

    model_config = SettingsConfigDict(env_prefix="TALKIES_", extra="ignore")

    workspace: str = Field(
        default="workspace", description="Folder of catalog, blobs, reports; or s3://bucket/prefix."
    )
    catalog: str = Field(
        default="", description="postgresql://… for the catalog's metadata; else SQLite."
    )
    state: Path = Field(
        default=Path("~/.local/share/talkies"),
        description="Folder of this machine's part of workspaces in an object store.",
    )
    copies_gib: float = Field(
        default=100.0,
        ge=0,
        description="Size of this machine's copies of an object store that a build leaves, in GiB.",
    )
    workers: int = Field(
        default_factory=lambda: max(1, len(os.sched_getaffinity(0))),
        ge=1,
        description="Worker processes; one a core unless set.",
    )
    commit_wait_s: float = Field(
        default=60.0,
        ge=0,
        description="Seconds for which a commit is tried again, or waits for another.",
    )
    cache: Path = Field(
        default=Path("~/.cache/talkies"), description="Folder of fetched weights and corpora."
    )
