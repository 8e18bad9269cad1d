"""The networks: layers, losses, and the builders that put them together."""
