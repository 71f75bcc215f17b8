"""Which arrays: the only code that tells NumPy from torch, and the checks at the door."""
