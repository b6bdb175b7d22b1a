"""Every write and fsync of a small scenario, each failed or made the last one of its process."""
