"""What classes have in common that walk the same process in the same way."""
