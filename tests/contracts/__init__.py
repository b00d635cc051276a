"""Contract classes: every fake and its adapter pass the same one."""
