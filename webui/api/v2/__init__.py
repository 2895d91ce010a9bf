"""The product's own API: jobs, their events, previews and images."""
