"""A node: where it is, what it can sense, and its hands."""
