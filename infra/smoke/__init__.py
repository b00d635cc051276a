"""What a running installation is asked, from the outside, to see that each of its parts does its work."""
