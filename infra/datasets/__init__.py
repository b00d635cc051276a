"""Published sets of labelled incidents, read into cases as their authors laid them out."""
