"""One frozen Settings, read once from CAROUSEL_* variables and passed down; nothing else reads the environment."""

import os
import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.models.folder import choice
from service.models.providers import Threads

_PREFIX = "CAROUSEL_"
_NOT_OURS = {"CAROUSEL_DATA"}  # where training finds data sets that may not be shipped
_MOST_THREADS = 8  # of a run, unless more are asked for
_LONGEST = 10**9  # seconds, 31 years: `expires_at` is a date, and dates end

_Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]  # a name; addresses are served anyway
_Origin = Annotated[str, Field(pattern=r"^([a-z][a-z0-9+.-]*://[^/*\sA-Z]+|null)$")]  # as browsers send it


class Settings(BaseSettings):
    """What an operator may decide. Bytes, seconds and counts; every field is also a CAROUSEL_* variable."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8000, ge=0, le=65535)
    grpc_port: int | None = Field(default=None, ge=1, le=65535)  # of the Open Inference Protocol over gRPC, if wanted
    workers: int = Field(default=1, ge=1, le=64)  # processes that serve together over the port
    models: Path = Path("models")
    versions: str = "all"  # that are served of a model: all, latest:N, or numbers by commas
    watch_seconds: float = Field(default=0, ge=0, le=_LONGEST)  # between looks at the folder of models; 0: none
    providers: Annotated[tuple[str, ...], NoDecode] = Field(("cpu",), min_length=1)  # the first that can run; by commas
    provider_options: Path | None = None  # a TOML file with a table for each provider
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")

    allowed_hosts: Annotated[tuple[_Host, ...], NoDecode] = ()  # names served beside addresses; comma-separated
    allowed_origins: Annotated[tuple[_Origin, ...], NoDecode] = ()  # of pages that may call; comma-separated
    state_key: SecretStr | None = None  # ID:SECRET, comma-separated: the first seals states, all open them
    max_body_bytes: int = Field(default=64 * 2**20, ge=1)
    max_connections: int | None = Field(default=None, ge=1)  # else as many as there are descriptors for
    head_seconds: float = Field(default=10, gt=0, le=_LONGEST)  # from the connection to a whole head
    body_bytes_per_second: int = Field(default=1024, ge=0)  # of each 10 s, while a body is on its way
    max_unfinished_bytes: int = Field(default=256 * 2**20, ge=1)  # of messages on their way, over all connections
    max_unread_bytes: int = Field(default=256 * 2**20, ge=1)  # of answers that are not read, over all connections
    batch: int | None = Field(default=None, ge=1)  # rows of a tick, and steps of a row in it: else they are measured
    chunk: int | None = Field(default=None, ge=1)
    run_threads: int = Field(default=0, ge=0, le=256)  # of a run of a model; 0: more than one where runs are long
    max_queue_rows: int = Field(default=65_536, ge=1)
    max_queue_bytes: int = Field(default=256 * 2**20, ge=1)
    max_sessions: int = Field(default=200_000, ge=1)
    max_session_bytes: int = Field(default=2 * 2**30, ge=1)
    default_ttl_seconds: float = Field(default=3600, gt=0, le=_LONGEST)
    max_ttl_seconds: float = Field(default=7 * 86_400, gt=0, le=_LONGEST)
    replay: int = Field(default=4, ge=1, le=256)
    max_replay_bytes: int = Field(default=256 * 2**20, ge=1)
    store: str = Field(default="memory", pattern="^(memory|embedded|redis)$")
    store_path: Path | None = None  # else `sessions` beside the folder of models
    store_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")  # may have a password
    store_lease_seconds: float = Field(default=5, ge=0.5, le=60)  # after so long without a word a process is dead
    store_sync: bool = False  # answers wait until the disk has them
    store_write: str = Field(default="before", pattern="^(before|behind)$")  # steps are stored, then answered; or after
    store_behind_ms: int = Field(default=100, ge=1, le=60_000)  # of answered steps that may be lost, written behind
    resident_bytes: int = Field(default=2**30, ge=1)  # of sessions in memory, where a store has the others
    store_replay_seconds: float = Field(default=10, gt=0, le=3600)
    # not ready, but serving; else 2, on a terminal 0
    lame_duck_seconds: float | None = Field(default=None, ge=0, le=_LONGEST)
    drain_seconds: float = Field(default=30, gt=0, le=_LONGEST)

    @property
    def store_folder(self) -> Path:
        """Where the embedded store is."""
        return self.store_path or self.models.resolve().with_name("sessions")

    @property
    def threads(self) -> Threads:
        """Threads of a run: as asked, or for long runs as many as each worker has cores."""
        if self.run_threads:
            return Threads(self.run_threads, asked=True)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return Threads(max(1, min(_MOST_THREADS, cores // self.workers)), asked=False)

    @field_validator("allowed_hosts", "allowed_origins", "providers", mode="before")
    @classmethod
    def _listed(cls, given: object) -> object:
        return tuple(one.strip() for one in given.split(",") if one.strip()) if isinstance(given, str) else given

    @field_validator("models", "provider_options", "store_path", mode="before")
    @classmethod
    def _named(cls, given: object) -> object:
        if given == "":
            raise ValueError("the name of a path is empty")
        return given

    @field_validator("versions")
    @classmethod
    def _chosen(cls, given: str) -> str:
        return choice(given)

    @field_validator("state_key")
    @classmethod
    def _keyed(cls, given: SecretStr | None) -> SecretStr | None:
        for one in given.get_secret_value().split(",") if given is not None else ():
            if not re.fullmatch(r"[A-Za-z0-9._-]{1,32}:.{16,}", one):
                raise ValueError("state_key: not ID:SECRET, with an id of 1-32 characters and a secret of 16 or more")
        return given

    @model_validator(mode="after")
    def _default_within_maximum(self) -> Self:
        if self.default_ttl_seconds > self.max_ttl_seconds:
            raise ValueError(
                f"default_ttl_seconds {self.default_ttl_seconds:g} > max_ttl_seconds {self.max_ttl_seconds:g}"
            )
        return self

    @model_validator(mode="after")
    def _shared_by_the_store(self) -> Self:
        if self.grpc_port == self.port:
            raise ValueError(f"grpc_port {self.grpc_port}: HTTP has that port")
        if self.workers > 1 and self.grpc_port is not None:
            raise ValueError(f"workers {self.workers}: gRPC is served by one worker only; leave grpc_port out")
        if self.workers > 1 and self.store == "memory":
            raise ValueError(
                f"workers {self.workers}: each would have sessions of its own;"
                " more than one need CAROUSEL_STORE=embedded or redis"
            )
        return self

    @model_validator(mode="after")
    def _promised_by_the_store(self) -> Self:
        for name, other in (("store_write", self.store_write == "behind"), ("store_sync", self.store_sync)):
            if other and self.store != "embedded":
                raise ValueError(f"{name} {getattr(self, name)} is for the embedded store; the store is {self.store}")
        return self


def load(**given: object) -> Settings:
    """Settings from the environment, overruled by what is `given`.

    Raises:
        ValueError: an unknown CAROUSEL_* variable (pydantic-settings alone would overlook a misspelt one), or a value
            out of range.

    """
    known = {_PREFIX + name.upper() for name in Settings.model_fields} | _NOT_OURS
    unknown = sorted(name for name in os.environ if name.upper().startswith(_PREFIX) and name.upper() not in known)
    if unknown:
        raise ValueError(f"unknown settings: {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    return Settings(**given)  # type: ignore[arg-type]  # validated by pydantic
