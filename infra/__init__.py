"""Adapters to the world: database, nodes, lab, API, settings, deployment. No business rules, no Prefect."""
