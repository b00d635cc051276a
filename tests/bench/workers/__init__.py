"""Processes that a benchmark starts beside itself: one trial, and load."""
