"""The public classes, a file each: signature, dialect, rule."""
