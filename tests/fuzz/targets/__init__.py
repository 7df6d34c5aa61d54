"""One function a target: it takes bytes, and raises only when a property does not hold."""
