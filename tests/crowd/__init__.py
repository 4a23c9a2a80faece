"""Ten thousand connections, half of them hostile: `make crowd`."""
