"""The whole system, as its operator starts it: minutes, root, a real kernel."""
