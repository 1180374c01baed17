"""A server that errs as it is told: raw sockets, one coroutine a fault, the same bytes for the same seed."""
