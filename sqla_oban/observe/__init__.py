"""What others see of a runner: health, metrics and traces, all made of telemetry events.

`health` and `survey` need nothing; `prometheus` needs the extra of that name, and `otel` its own.
"""

from sqla_oban.observe.asgi import asgi
from sqla_oban.observe.health import Health
from sqla_oban.observe.survey import Survey

__all__ = ["Health", "Survey", "asgi"]
