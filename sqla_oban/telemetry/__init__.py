"""What happens inside, as typed events.

`events` holds one frozen dataclass an event; `bus` hands them to whoever attached.
"""

from sqla_oban.telemetry.bus import Handler, attach, detach, emit

__all__ = ["Handler", "attach", "detach", "emit"]
