"""Ten minutes of coming and going: `make soak`."""
