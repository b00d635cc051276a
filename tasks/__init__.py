"""One stage, one file: each task is one side effect or one call into `models`, with its retry policy."""
