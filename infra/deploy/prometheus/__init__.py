"""Prometheus: who is scraped, and the rules that judge it."""
