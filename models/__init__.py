"""Thinking: domain types, rules and beliefs. Pure: no IO, no clock, no environment, nothing of ours imported."""
