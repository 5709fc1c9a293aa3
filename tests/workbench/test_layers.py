#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=30 parallel
"""The packages of the workbench import from each other in one direction only."""

import ast
import re
import tempfile
import unittest
from pathlib import Path

import fake

WORKBENCH = fake.TOP / "scripts" / "workbench"


def order(top):
    """The packages, lowest first, as the docstring of TOP's __init__.py lists them."""
    text = ast.get_docstring(ast.parse((top / "__init__.py").read_text()))
    return re.findall(r"^    (\w+)  ", text, re.MULTILINE)


def module_name(path, top):
    """The name of the module in the file PATH, relative to the package in the folder TOP."""
    name = path.relative_to(top).with_suffix("").as_posix().replace("/", ".")
    return "" if name == "__init__" else name.removesuffix(".__init__")


def imports(path, top, modules):
    """[(line, name)] of those of the MODULES of TOP that the file PATH imports, wherever."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module or ''}.{alias.name}" for alias in node.names]
            if node.level:
                base = module_name(path.parents[node.level - 1] / "__init__.py", top)
                names = [f"{top.name}.{base}.{name.lstrip('.')}".replace("..", ".")
                         for name in names]
        else:
            continue
        for name in names:
            inner = name.removeprefix(f"{top.name}.")
            # The last word may be something in a module.
            for candidate in (inner, inner.rpartition(".")[0]):
                if inner != name and candidate in modules:
                    found.append((node.lineno, candidate))
                    break
    return found


def faults(top):
    """What is wrong with the imports of the package in the folder TOP, each as a text."""
    layers = order(top)
    files = {module_name(path, top): path for path in sorted(top.rglob("*.py"))}
    files.pop("")
    wrong = [f"{name} is not in the list of __init__.py"
             for name in sorted({name.partition(".")[0] for name in files} - set(layers))]
    wrong += [f"{name} is in the list of __init__.py and does not exist"
              for name in layers if name not in files]
    if wrong:
        return wrong
    graph = {}
    for name, path in files.items():
        package = name.partition(".")[0]
        graph[name] = set()
        for line, other in imports(path, top, files):
            graph[name].add(other)
            if layers.index(other.partition(".")[0]) > layers.index(package):
                wrong.append(f"{name}:{line} imports {other}, which comes later in the list")
    return wrong + [f"{' imports '.join(loop)}" for loop in loops(graph)]


def loops(graph):
    """The cycles in GRAPH, {name: names}, each as a list that ends with what it begins with."""
    found, done = [], set()

    def walk(name, way):
        if name in way:
            found.append(way[way.index(name):] + [name])
        elif name not in done:
            for other in sorted(graph[name]):
                walk(other, way + [name])
            done.add(name)

    for name in graph:
        walk(name, [])
    return found


class Layers(unittest.TestCase):

    def test_workbench(self):
        """Each package imports from lower ones only, and no two modules import each other."""
        self.assertEqual(faults(WORKBENCH), [])

    def test_packages_hold_modules(self):
        """An __init__.py is a docstring and nothing else."""
        for path in WORKBENCH.rglob("__init__.py"):
            body = ast.parse(path.read_text()).body
            self.assertTrue(len(body) == 1 and ast.get_docstring(ast.parse(path.read_text())),
                            path)

    def test_commands_import_whole_names(self):
        """What the commands import exists: some of it only loads when a verb is asked for."""
        files = {module_name(path, WORKBENCH) for path in WORKBENCH.rglob("*.py")}
        for path in (fake.TOP / "scripts").iterdir():
            if path.is_file():
                for node in ast.walk(ast.parse(path.read_text())):
                    if isinstance(node, ast.ImportFrom) and node.module.startswith("workbench"):
                        base = node.module.removeprefix("workbench").strip(".")
                        for alias in node.names:
                            self.assertIn(f"{base}.{alias.name}".strip("."), files, path)

    def found(self, **files):
        """The faults of a package with the list low, high and FILES, __ in names for a slash."""
        with tempfile.TemporaryDirectory() as folder:
            top = Path(folder, "fake")
            texts = {"__init__": '"""X.\n\nY:\n\n    low   a\n    high  b\n"""', "low____init__": "",
                     "high____init__": "", **files}
            for name, text in texts.items():
                path = top / (name.replace("__", "/", 1) + ".py") \
                    if not name.startswith("__") else top / f"{name}.py"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text + "\n")
            return faults(top)

    def test_direction(self):
        """An import from a higher package is found, in each form and inside of functions."""
        self.assertEqual(self.found(high__b="from ..low import a", low__a=""), [])
        for text in ("from ..high import b", "from ..high.b import name", "import fake.high.b",
                     "from fake.high import b", "def f():\n    from ..high import b"):
            with self.subTest(text):
                found = self.found(low__a=text, high__b="")
                self.assertEqual(len(found), 1, found)
                self.assertRegex(found[0], r"^low\.a:[12] imports high\.b, which comes later in the list$")

    def test_cycle(self):
        """Modules of one package that import each other are found."""
        found = self.found(low__a="from . import b", low__b="from .c import x",
                           low__c="def f():\n    from . import a")
        self.assertEqual(found, ["low.a imports low.b imports low.c imports low.a"])

    def test_list(self):
        """A package that is not in the list is found, and one that does not exist."""
        self.assertEqual(self.found(other__a=""), ["other is not in the list of __init__.py"])


if __name__ == "__main__":
    fake.main()
