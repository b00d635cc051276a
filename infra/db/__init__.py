"""Postgres: tables, repositories, the unit of work, roles of long runs, and the private cluster."""
