"""Phantom images: computed anatomy, so that a picture looks like what its header says."""
