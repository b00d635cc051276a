"""Where the providers are, what opens them, and how much they may be asked. Keys keep the names their makers gave."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from infra.environment import FromEnvironment


class ChainSettings(FromEnvironment):
    """The four providers of an installation; keys come from the environment alone and have no default."""

    model_config = SettingsConfigDict(env_prefix="X0_", frozen=True, populate_by_name=True)

    tronscan_url: str = Field(
        default="https://apilist.tronscanapi.com", description="The URL is what names the network."
    )
    trongrid_url: str = Field(default="https://api.trongrid.io", description="Or a full node of one's own.")
    tonapi_url: str = Field(default="https://tonapi.io", description="Main network.")
    toncenter_url: str = Field(default="https://toncenter.com", description="Main network, API v3.")
    tronscan_key: SecretStr | None = Field(default=None, validation_alias="TRONSCAN_API_KEY", description="Header key.")
    trongrid_key: SecretStr | None = Field(default=None, validation_alias="TRONGRID_API_KEY", description="Header key.")
    tonapi_key: SecretStr | None = Field(default=None, validation_alias="TON_API_KEY", description="Bearer token.")
    toncenter_key: SecretStr | None = Field(
        default=None, validation_alias="TONCENTER_API_KEY", description="Header key."
    )
    provider_deadline_seconds: float = Field(
        default=4.0,
        gt=0,
        le=60,
        description="One request with its retries; a waiting customer is answered within 4.5 s.",
    )
    provider_body_bytes: int = Field(
        default=2 * 1024 * 1024, ge=1024, description="Largest answer read; a full page is a quarter of that."
    )
    tronscan_calls_per_second: float | None = Field(
        default=None, gt=0, description="Unset: 5 with a key (its free tier), 1 without."
    )
    trongrid_calls_per_second: float | None = Field(
        default=None, gt=0, description="Unset: 10 with a key (it publishes no number; 15 was its last), 1 without."
    )
    tonapi_calls_per_second: float | None = Field(
        default=None, gt=0, description="Unset: 1 with a free token, one in four seconds without."
    )
    toncenter_calls_per_second: float | None = Field(
        default=None, gt=0, description="Unset: 10 with a free key, 1 without."
    )
