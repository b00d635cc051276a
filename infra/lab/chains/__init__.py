"""A stand-in for the two chains and their four APIs, over real HTTP, with faults on command."""
