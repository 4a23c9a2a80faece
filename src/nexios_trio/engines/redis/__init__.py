"""A Redis or Valkey server: it numbers and keeps what the nodes of several machines say to each other."""
