"""What people and programs read from the agents over HTTP: JSON, Prometheus metrics, health."""
