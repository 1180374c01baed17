"""Read by every Python that a test starts: it logs at DEBUG into the folder that the test run will look through."""

import logging
import os

if _folder := os.environ.get("S4S_TEST_LOGS"):
    logging.getLogger().addHandler(logging.FileHandler(f"{_folder}/{os.getpid()}.log", delay=True, encoding="utf-8"))
    logging.getLogger().setLevel(logging.DEBUG)
