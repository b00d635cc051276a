"""The order of things: what happens, in which order, on which schedule. No arithmetic, no SQL, no HTTP."""
