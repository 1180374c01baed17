"""The archives behind the sandbox: what is served, whoever asks."""

from s4s_lab.sandbox.archive.store import Archive, ImageStudy, Instance, Participant, Stored, store

__all__ = ["Archive", "ImageStudy", "Instance", "Participant", "Stored", "store"]
