"""Grafana: six dashboards, written from code, and how they are provisioned."""
