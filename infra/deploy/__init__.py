"""How it is shipped: images, chart, units, and what watches a running installation."""
