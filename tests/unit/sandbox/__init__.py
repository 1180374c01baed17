"""The sandbox's parts by themselves."""
