"""The dashboard: an ASGI application to be mounted in another, or to be served by `sqla-oban web`.

It needs Starlette and Jinja2, which an application that only runs jobs does not: they are the extra `web`.
"""

from sqla_oban.web.actions import Action
from sqla_oban.web.dashboard import dashboard

__all__ = ["Action", "dashboard"]
