"""The gateway: the one door for people and programs. It reads the store, writes requests, and touches no mesh."""
