"""Dreams with actions: figures of `worldtune bench dreams`."""
