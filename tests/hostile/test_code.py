"""Nothing in the package can run code that a file brings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import crosslatent

SOURCE = Path(crosslatent.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

_MODULES = """
    pickle cPickle dill cloudpickle joblib shelve marshal jsonpickle code codeop runpy ctypes
"""
FORBIDDEN_MODULES = frozenset(_MODULES.split())
FORBIDDEN_CALLS = frozenset(
    {
        "eval", "exec", "compile", "__import__", "torch.load", "np.load", "numpy.load",
        "np.loadtxt", "pd.read_pickle", "pd.eval", "yaml.load", "yaml.unsafe_load",
        "yaml.full_load", "yaml.load_all", "os.system", "os.popen", "pa.deserialize",
        "pa.PyExtensionType", "pa.register_extension_type", "pickle_load",
    }
)  # fmt: skip
FORBIDDEN_ARGUMENTS = frozenset({"allow_pickle", "shell", "weights_only", "trust_remote_code"})
"""When they are given as a constant other than the safe one."""


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_no_module_reads_what_can_run_code(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            assert name.split(".")[0] not in FORBIDDEN_MODULES, f"{file}:{node.lineno}: {name}"
    for name, call in calls(tree):
        given = {one.arg: ast.unparse(one.value) for one in call.keywords}
        careful = name == "np.load" and given.get("allow_pickle") == "False"
        assert careful or name not in FORBIDDEN_CALLS, f"{file}:{call.lineno}: {name}"
        for keyword in call.keywords:
            if keyword.arg in FORBIDDEN_ARGUMENTS and isinstance(keyword.value, ast.Constant):
                assert keyword.value.value is (keyword.arg == "weights_only"), f"{file}: {name}"


def test_modules_are_imported_by_our_own_names_alone() -> None:
    found = {
        (str(file.relative_to(SOURCE)), ast.unparse(call.args[0]))
        for file in FILES
        for name, call in calls(ast.parse(file.read_text(encoding="utf-8")))
        if name in ("import_module", "importlib.import_module")
    }
    assert found == {
        ("__init__.py", "f'{__name__}.lens'"),
        # Names of files in a folder of the package, and nothing else.
        ("core/plugins.py", "self._module(name)"),
        # What packages of ours list in their __init__.
        ("core/imports.py", "found[name]"),
    }


def test_weights_are_read_from_safetensors_alone() -> None:
    asked = [
        (str(file.relative_to(SOURCE)), call)
        for file in FILES
        for name, call in calls(ast.parse(file.read_text(encoding="utf-8")))
        if name.endswith("loads.from_pretrained") or name.startswith("AutoModel")
    ]
    assert asked
    for where, call in asked:
        given = {one.arg: ast.unparse(one.value) for one in call.keywords}
        assert given.get("use_safetensors") == "True", where
