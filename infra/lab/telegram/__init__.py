"""A stand-in for Telegram: the Bot API over HTTP, and people who write to the bot."""
