"""Hundreds of jobs at once, for minutes, followed by the official clients in each way they have."""
