"""The one place that talks HTTP: waiting, deadlines, credentials bound to origins, proxies, bounded bodies."""

from s4s_lab.net.allowance import Limits
from s4s_lab.net.answers import Answer, Stream
from s4s_lab.net.client import HttpClient
from s4s_lab.net.redaction import shown
from s4s_lab.net.tracing import Trace, TracedExchange
from s4s_lab.net.waiting import Patience, Wait, pause_before_repeating, retry_after

__all__ = [
    "Answer",
    "HttpClient",
    "Limits",
    "Patience",
    "Stream",
    "Trace",
    "TracedExchange",
    "Wait",
    "pause_before_repeating",
    "retry_after",
    "shown",
]
