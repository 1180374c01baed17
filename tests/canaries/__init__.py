"""The whole test run listens at DEBUG and looks for credentials everywhere that they do not belong."""
