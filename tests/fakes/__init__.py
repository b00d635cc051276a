"""Fakes: each keeps its port's promises in memory and passes the contract of its adapter."""
