"""Whether there is a bot, who looks after it, and how its updates arrive."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from infra.environment import FromEnvironment
from models.errors import ConfigurationInvalid


class TelegramSettings(FromEnvironment):
    """Everything about the bot that an installation can turn."""

    model_config = SettingsConfigDict(env_prefix="X0_", frozen=True, populate_by_name=True)

    telegram_token: SecretStr | None = Field(
        default=None, validation_alias="TELEGRAM_BOT_TOKEN", description="From BotFather; unset: there is no bot."
    )
    telegram_admins: Annotated[tuple[int, ...], NoDecode] = Field(
        default=(), description="Telegram user ids, with commas, of those who look after payments and the mesh."
    )
    telegram_sells: bool = Field(
        default=True,
        description="Whether the bot takes orders. Telegram wants Stars for digital goods sold inside its apps.",
    )
    telegram_support: str = Field(default="", description="Where customers find a person: a link, a name, an address.")
    telegram_url: str = Field(default="https://api.telegram.org", description="The Bot API, or a server of one's own.")
    telegram_webhook: str = Field(
        default="", description="Public https address of this gateway; unset: the bot asks for updates itself."
    )
    telegram_webhook_secret: SecretStr | None = Field(
        default=None, description="What Telegram must send along to the webhook; 1-256 of A-Z a-z 0-9 _ and -."
    )

    @field_validator("telegram_admins", mode="before")
    @classmethod
    def _ids(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if not all(part.isascii() and part.isdecimal() for part in parts):
            raise ConfigurationInvalid(
                "X0_TELEGRAM_ADMINS takes numbers with commas between", "send /start to @userinfobot to learn yours"
            )
        return parts

    @model_validator(mode="after")
    def _webhook_is_guarded(self) -> TelegramSettings:
        if self.telegram_webhook and self.telegram_webhook_secret is None:
            raise ConfigurationInvalid(
                "X0_TELEGRAM_WEBHOOK is set without a secret",
                "set X0_TELEGRAM_WEBHOOK_SECRET, or anybody can speak to the bot in another's name",
            )
        return self
