"""Ten thousand connections at once: slow ones beside a client that must not notice, and all that come back together."""
