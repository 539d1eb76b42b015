import runpy
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from sqla_oban.errors import DeclarationError, UnknownWorker
from sqla_oban.settings import ExecutorKind
from sqla_oban.workers.definition import Definition, Rules
from sqla_oban.workers.options import JobDefaults
from sqla_oban.workers.registry import Registry, default_name, origin


def nothing() -> None: ...


def definition(name: str = "shop.send", origin: tuple[str, str] = ("shop.py", "send")) -> Definition:
    return Definition(
        name=name,
        defaults=JobDefaults(),
        executor=ExecutorKind.ASYNC,
        prepare=lambda _, __: nothing,
        rules=Rules(),
        origin=origin,
    )


def test_a_worker_is_found_by_its_name(registry: Registry) -> None:
    sent, kept = definition(), definition("shop.keep", ("shop.py", "keep"))
    registry.add(sent)
    registry.add(kept)
    assert registry.get("shop.send") is sent
    assert registry.get("shop.keep") is kept
    assert [*registry] == ["shop.send", "shop.keep"]


def test_the_same_declaration_once_more_replaces_itself(registry: Registry) -> None:
    registry.add(definition())
    reloaded = replace(definition(), executor=ExecutorKind.THREAD)
    registry.add(reloaded)
    assert registry.get("shop.send") is reloaded


@pytest.mark.parametrize("other", [("shop.py", "send_all"), ("store.py", "send")], ids=["other-name", "other-file"])
def test_another_declaration_of_a_name_is_refused_and_changes_nothing(
    other: tuple[str, str], registry: Registry
) -> None:
    first = definition()
    registry.add(first)
    with pytest.raises(DeclarationError, match=r"'shop.send' is taken by send in shop.py; give one of them another"):
        registry.add(definition(origin=other))
    assert registry.get("shop.send") is first


def test_an_unknown_name_is_told_with_what_to_do(registry: Registry) -> None:
    with pytest.raises(UnknownWorker, match=r"no worker is named 'shop.send' .* import the module that declares it"):
        registry.get("shop.send")


def test_a_name_never_loads_code(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_worker.py").write_text("raise SystemExit('loaded')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UnknownWorker):
        registry.get("evil_worker.run")
    assert "evil_worker" not in sys.modules


def test_a_worker_is_named_after_its_module_and_its_qualified_name() -> None:
    assert default_name(nothing) == "tests.workers.test_registry.nothing"
    assert default_name(Registry.add) == "sqla_oban.workers.registry.Registry.add"


@pytest.mark.parametrize(
    ("spec", "name"),
    [(ModuleSpec("shop.jobs", None), "shop.jobs.send"), (None, "__main__.send")],
    ids=["python -m shop.jobs", "python shop/jobs.py"],
)
def test_a_worker_of_the_main_module_is_named_after_the_real_one_if_that_is_known(
    spec: ModuleSpec | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = ModuleType("__main__")
    main.__spec__ = spec
    monkeypatch.setitem(sys.modules, "__main__", main)

    def send() -> None: ...

    send.__module__, send.__qualname__ = "__main__", "send"
    assert default_name(send) == name
    monkeypatch.setitem(sys.modules, "__mp_main__", main)
    send.__module__ = "__mp_main__"  # as it is called in a process that looks for its workers
    assert default_name(send) == name


def test_a_name_that_the_column_cannot_hold_is_refused() -> None:
    def send() -> None: ...

    send.__qualname__ = "x" * 127
    with pytest.raises(DeclarationError, match="has more than 127 characters; give it another with name="):
        default_name(send)


def test_a_declaration_is_told_from_another_by_its_file_and_name(tmp_path: Path) -> None:
    assert origin(nothing) == (__file__, "nothing")
    script = tmp_path / "script.py"
    script.write_text("def send(): ...\n")
    send = runpy.run_path(str(script))["send"]
    assert origin(send) == ("<run_path>", "send")
