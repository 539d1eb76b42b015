"""What settings are checked by; every refusal is a ConfigurationError."""

from sqla_oban.errors import ConfigurationError, shown
from sqla_oban.payload import is_storable

CENTURY = 36_500 * 86_400.0
MOST = 2**31 - 1
LONGEST = 255
"""Characters of a name; some are part of a key, which must fit into an index."""


def positive(what: str, value: object) -> None:
    """Refuse anything but a finite number above zero."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{what} must be a number of seconds, got {shown(value)}")
    if not 0 < value <= CENTURY:
        raise ConfigurationError(f"{what} must be a finite number above zero and at most a century, got {shown(value)}")


def whole(what: str, value: object) -> None:
    """Refuse anything but an integer above zero."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(f"{what} must be an integer, got {shown(value)}")
    if value < 1:
        raise ConfigurationError(f"{what} must be at least 1, got {shown(value)}")
    if value > MOST:
        raise ConfigurationError(f"{what} must be at most {MOST}, got {shown(value)}")


def named(what: str, value: object) -> str:
    """`value` if it is a name that PostgreSQL can store; anything else is refused."""
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST or not is_storable(value):
        raise ConfigurationError(f"{what} must be a non-blank str of {LONGEST} characters at most, got {shown(value)}")
    return value
