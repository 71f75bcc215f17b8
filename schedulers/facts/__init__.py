"""What is known: the literature, and where upstream leaves the mathematics."""
