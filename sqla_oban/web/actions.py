"""What can be done with the dashboard, and who may do it."""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from inspect import isawaitable
from typing import TypeAlias

from starlette.requests import HTTPConnection


class Action(StrEnum):
    """What `authorize` is asked about."""

    READ = "read"
    """See anything at all."""
    RETRY_JOBS = "retry_jobs"
    CANCEL_JOBS = "cancel_jobs"
    DELETE_JOBS = "delete_jobs"
    EDIT_JOBS = "edit_jobs"
    """Change worker, arguments and the rest: who may do this can have any worker run with anything."""
    RETRY_WORKFLOWS = "retry_workflows"
    CANCEL_WORKFLOWS = "cancel_workflows"
    PAUSE_QUEUES = "pause_queues"
    """Pause and resume them."""
    SCALE_QUEUES = "scale_queues"
    CREATE_CRONS = "create_crons"
    """As powerful as EDIT_JOBS."""
    PAUSE_CRONS = "pause_crons"
    """Pause and resume them."""
    DELETE_CRONS = "delete_crons"


Authorize: TypeAlias = Callable[[HTTPConnection, Action], bool | Awaitable[bool]]
User: TypeAlias = Callable[[HTTPConnection], str | None]


def read_only(_: HTTPConnection, action: Action) -> bool:
    """What holds where nobody says otherwise: everybody who gets here may look, and nobody may change anything."""
    return action is Action.READ


def authenticated_name(request: HTTPConnection) -> str | None:
    """The name that Starlette's AuthenticationMiddleware has found, if there is one."""
    user = request.scope.get("user")
    return str(user.display_name) if user is not None and getattr(user, "is_authenticated", False) else None


async def allowed(authorize: Authorize, request: HTTPConnection, action: Action) -> bool:
    """Whether `authorize` says so; only True itself is a yes."""
    answer = authorize(request, action)
    return (await answer if isawaitable(answer) else answer) is True


async def permissions(authorize: Authorize, request: HTTPConnection) -> frozenset[Action]:
    """All that somebody may do."""
    return frozenset([action for action in Action if await allowed(authorize, request, action)])
