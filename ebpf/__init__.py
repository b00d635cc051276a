"""Seeing: eBPF programs, their loader, and the reading of their maps. No Prefect, no database, no opinions."""
