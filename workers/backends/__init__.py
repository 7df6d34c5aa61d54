"""Models behind the `Embedder` protocol, one a file."""
