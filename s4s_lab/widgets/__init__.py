"""Views for notebooks: what to show of a launch. No logic of their own, nothing secret in their traits."""

from s4s_lab.widgets.launch_panel import LaunchPanel, launch

__all__ = ["LaunchPanel", "launch"]
