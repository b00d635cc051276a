"""The commands of `x0tta6bl4`, by who types them: machine (up, down), operator (heal, approve), access (tokens)."""
