"""The reference server, met over the wire."""
