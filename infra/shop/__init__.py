"""The shop: orders taken, claims heard, people's decisions kept, and what is known of a payment told in time."""
