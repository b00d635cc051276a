"""A mirror of the code, plus fakes, contracts, end-to-end tests, benchmarks and conformance runs."""
