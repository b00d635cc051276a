"""Tests of thinking: pure, no IO, no clock."""
