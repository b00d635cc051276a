"""What an actuator can do, one file a verb: check, capture, apply, read back, undo."""
