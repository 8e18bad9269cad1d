"""Feature pyramids: graphs as lists of nodes, and the one loop that builds them."""
