"""What settings are checked by; every refusal is a ConfigurationError."""

from sqla_oban.errors import ConfigurationError, shown

CENTURY = 36_500 * 86_400.0
MOST = 2**31 - 1


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
