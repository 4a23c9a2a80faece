"""What `nexios-trio check` looks at."""
