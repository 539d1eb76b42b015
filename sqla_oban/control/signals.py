"""A signal, checked where it is given."""

import json

from sqla_oban.errors import InvalidArguments, InvalidJob
from sqla_oban.models.checks import checked_name
from sqla_oban.payload import snapshot


class Signal:
    """A payload under a name.

    Args:
        name: which signal it is; 1 to 127 characters.
        payload: a JSON value.

    Raises:
        InvalidArguments: that is no name.
        UnserialisableValue: the payload is no JSON value.
    """

    def __init__(self, name: object, payload: object) -> None:
        try:
            self.name = checked_name("a signal's name", name)
        except InvalidJob as error:
            raise InvalidArguments(str(error)) from None
        self.payload = json.dumps(snapshot(payload, "the payload of a signal"))
