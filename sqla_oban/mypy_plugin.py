"""Lets mypy see the `new` of a class that `@worker` decorates.

mypy takes a decorated class for the class itself, whatever its decorator returns, and so reports
`Transcode.new({"path": "a.mp4"})`. With this plugin it knows `new`, checks its options, and reports wrong ones.
Switched on in mypy's configuration, e.g. in pyproject.toml:

    [tool.mypy]
    plugins = ["sqla_oban.mypy_plugin"]

pyright needs no plugin: it believes the decorator. Nothing but mypy imports this module, because it imports mypy.
"""

from collections.abc import Callable

from mypy import types  # before `expandtype`, which it needs itself
from mypy.expandtype import expand_type
from mypy.nodes import CallExpr, RefExpr, TypeInfo
from mypy.plugin import ClassDefContext, Plugin
from mypy.plugins.common import add_attribute_to_class
from mypy.typeops import bind_self
from mypy.typevars import fill_typevars_with_any

DECORATORS = "sqla_oban.workers.decorators"


class WorkerPlugin(Plugin):
    """Gives each class under `@worker` the `new` that `WorkerClass` describes, so that it is described once."""

    def get_class_decorator_hook_2(self, fullname: str) -> Callable[[ClassDefContext], bool] | None:
        """The hook for `@worker`, bare or with options; mypy gives its own name, however it was imported."""
        return _add_new if fullname == f"{DECORATORS}.worker" else None


def plugin(_version: str) -> type[Plugin]:
    """What mypy asks a plugin's module for, whatever its version."""
    return WorkerPlugin


def _add_new(context: ClassDefContext) -> bool:
    """Add `new` to the class; True, because mypy need not ask again: by now it knows all signatures."""
    described = context.api.lookup_fully_qualified_or_none(f"{DECORATORS}.WorkerClass")
    if described is None or not isinstance(described.node, TypeInfo):  # mypy was told to skip this library
        return True
    method = described.node.get_method("new")
    if method is not None and isinstance(method.type, types.Overloaded):
        of_jobs = described.node.defn.type_vars[1].id
        signature = expand_type(bind_self(method.type), {of_jobs: _model(context)})
        new = add_attribute_to_class(context.api, context.cls, "new", signature, is_classvar=True)
        new.is_staticmethod = True  # it takes no instance when it is called on one
    return True


def _model(context: ClassDefContext) -> types.Type:
    """The class of the worker's jobs: the `model` of its decorator, if mypy knows the class already; else any."""
    options = context.reason
    given = dict(zip(options.arg_names, options.args, strict=True)) if isinstance(options, CallExpr) else {}
    if "model" not in given:
        return context.api.named_type("sqla_oban.models.job.Job")
    named = given["model"]
    if isinstance(named, RefExpr) and isinstance(named.node, TypeInfo):
        return fill_typevars_with_any(named.node)
    return types.AnyType(types.TypeOfAny.special_form)
