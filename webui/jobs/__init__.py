"""Durable jobs: the store, the queue, and the runners that do the work."""
