#!/usr/bin/env python3
"""Finds files that import each other in a circle, in the `src` of every crate of the workspace. Plain Python, nothing to install.

    python3 scripts/check_imports.py [--all] [REPOSITORY]

Reads `use` declarations and paths in code (`crate::a::b`, `super::b`, `module::b`), follows re-exports to the file that defines
a name, and leaves out what is compiled for tests only. A file that defines things and re-exports others' is imported too by who
takes a name through it; one that only re-exports is passed through. A `mod` declaration is no import, and a re-export is one
only where the file uses the name itself. Prints every circle with its imports, `file -> file: names`; exit status 1 if there is one.
With --all it prints the imports of all files.
"""

import argparse
import pathlib
import re
import sys
from collections import defaultdict

TOKEN = re.compile(
    r"""
    (?P<skip> \s+ | //[^\n]* )
  | (?P<raw> (?:b|c|br|cr|r)r?\#*" )
  | (?P<string> " (?:[^"\\]|\\.)* " )
  | (?P<char> b?' (?:[^'\\]|\\.[^']*) ' )
  | (?P<lifetime> '[A-Za-z_]\w* )
  | (?P<name> (?:r\#)?[A-Za-z_]\w* )
  | (?P<number> \d\w* )
  | (?P<mark> :: | -> | => | . )
    """,
    re.VERBOSE | re.DOTALL,
)
OPEN, CLOSE = "([{", ")]}"
DEFINING = {"fn", "struct", "enum", "union", "trait", "type", "const", "static"}
MODIFIERS = {"pub", "unsafe", "async", "extern", "default", "auto"}
ENDS_WITH_SEMICOLON = {"type", "const", "static"}
FOR_TESTS = re.compile(r"test$|cfg\((test\)|all\((.*,)?test[,)])")
MAX_RE_EXPORTS = 16


def tokenize(text):
    """Names and marks of Rust code; strings, comments and numbers are left out. A string becomes `""`."""
    tokens, at = [], 0
    while at < len(text):
        if text.startswith("/*", at):
            at = end_of_block_comment(text, at)
            continue
        match = TOKEN.match(text, at)
        kind, at = match.lastgroup, match.end()
        if kind == "raw":
            at = end_of_quoted(text, match)
            tokens.append('""')
        elif kind == "string":
            tokens.append(match.group())
        elif kind == "name":
            tokens.append(match.group().removeprefix("r#"))
        elif kind == "mark":
            tokens.append(match.group())
    return tokens


def end_of_block_comment(text, at):
    depth = 0
    for mark in re.compile(r"/\*|\*/").finditer(text, at):
        depth += 1 if mark.group() == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(text)


def end_of_quoted(text, opening):
    """Where a literal that begins with letters ends: a raw one at its quote and hashes, another at its quote."""
    mark = opening.group()
    if "r" in mark:
        return text.index('"' + "#" * mark.count("#"), opening.end()) + 1 + mark.count("#")
    return re.compile(r'(?:[^"\\]|\\.)*"', re.DOTALL).match(text, opening.end()).end()


class Module:
    def __init__(self, file, parent, folder):
        self.file, self.parent, self.folder = file, parent, folder
        self.children, self.definitions, self.bodies = {}, set(), []
        self.imports = []  # (name or "*", path, whether it is re-exported)

    def root(self):
        return self.parent.root() if self.parent else self

    def modules(self):
        yield self
        for child in self.children.values():
            yield from child.modules()


def parse_file(file, parent, folder):
    module = Module(file, parent, folder)
    parse_items(tokenize(file.read_text(encoding="utf-8")), module)
    return module


def parse_items(tokens, module):
    at = 0
    while at < len(tokens):
        attributes, at = read_attributes(tokens, at)
        start = at
        is_public = at < len(tokens) and tokens[at] == "pub"
        at = skip_modifiers(tokens, at)
        if at >= len(tokens):
            return
        keyword, name = tokens[at], tokens[at + 1] if at + 1 < len(tokens) else ""
        if keyword == "const" and name in {"fn", "unsafe", "async", "extern"}:
            at = skip_modifiers(tokens, at + 1)
            keyword, name = tokens[at], tokens[at + 1]
        end = end_of_item(tokens, at, keyword)
        if any(FOR_TESTS.match(attribute) for attribute in attributes):
            pass
        elif keyword == "use":
            add_imports(tokens[at + 1 : end - 1], module, is_public)
        elif keyword == "mod":
            add_module(name, tokens[at:end], attributes, module)
        else:
            if keyword in DEFINING:
                module.definitions.add(name)
            elif keyword == "macro_rules":
                module.definitions.add(tokens[at + 2])
            module.bodies.append(body_without_imports(tokens[start:end], module))
        at = end


def read_attributes(tokens, at):
    attributes = []
    while at < len(tokens) and tokens[at] == "#":
        at += 2 if tokens[at + 1] == "!" else 1
        end = end_of_group(tokens, at)
        attributes.append("".join(tokens[at + 1 : end - 1]))
        at = end
    return attributes, at


def skip_modifiers(tokens, at):
    while at < len(tokens) and (tokens[at] in MODIFIERS or tokens[at].startswith('"')):
        at += 1
        if tokens[at - 1] == "pub" and tokens[at : at + 1] == ["("]:
            at = end_of_group(tokens, at)
    return at


def end_of_group(tokens, at):
    depth = 0
    while at < len(tokens):
        depth += (tokens[at] in OPEN) - (tokens[at] in CLOSE)
        at += 1
        if depth == 0:
            break
    return at


def end_of_item(tokens, at, keyword):
    while at < len(tokens):
        if tokens[at] == ";":
            return at + 1
        if tokens[at] in OPEN:
            is_block = tokens[at] == "{"
            at = end_of_group(tokens, at)
            if is_block and keyword not in ENDS_WITH_SEMICOLON and keyword != "use":
                return at
        else:
            at += 1
    return at


def add_module(name, tokens, attributes, module):
    if tokens[-1] == "}":
        child = Module(module.file, module, module.folder / name)
        parse_items(tokens[3:-1], child)
    else:
        given = next((attribute.split('"')[1] for attribute in attributes if attribute.startswith('path="')), None)
        if given:
            path = module.file.parent / given
        else:
            path = next(path for path in (module.folder / f"{name}.rs", module.folder / name / "mod.rs") if path.exists())
        child = parse_file(path, module, path.parent if path.name == "mod.rs" else path.parent / path.stem)
    module.children[name] = child


def add_imports(tokens, module, is_public):
    for path, name in use_tree(tokens, []):
        module.imports.append((name, path, is_public))


def use_tree(tokens, prefix):
    """`(path, name)` of everything that a `use` declaration brings in."""
    path, at = list(prefix), 0
    while at < len(tokens):
        token = tokens[at]
        if token == "{":
            for branch in split_at_commas(tokens[at + 1 : end_of_group(tokens, at) - 1]):
                yield from use_tree(branch, path)
            return
        if token == "*":
            yield path, "*"
            return
        if token == "as":
            yield path, tokens[at + 1]
            return
        if token == "self" and path:
            pass  # `a::b::{self}` is `a::b`
        elif token != "::":
            path.append(token)
        at += 1
    if path:
        yield path, path[-1]


def split_at_commas(tokens):
    branches, depth = [[]], 0
    for token in tokens:
        depth += (token in OPEN) - (token in CLOSE)
        if token == "," and depth == 0:
            branches.append([])
        else:
            branches[-1].append(token)
    return [branch for branch in branches if branch]


def body_without_imports(tokens, module):
    """The tokens without `use` declarations inside of functions, which count as the module's."""
    body, at = [], 0
    while at < len(tokens):
        if tokens[at] == "use" and tokens[at - 1] in {"{", "}", ";"} and at > 0:
            end = tokens.index(";", at)
            add_imports(tokens[at + 1 : end], module, False)
            at = end + 1
        else:
            body.append(tokens[at])
            at += 1
    return body


def resolve(module, path, depth=0):
    """Files that a path leads to, and the name: the file that defines it, and those with definitions that re-export it. Empty
    if the path names a module, or something of another crate."""
    if not path or depth > MAX_RE_EXPORTS:
        return []
    first, rest = path[0], path[1:]
    if first == "crate":
        return resolve_in(module.root(), rest, depth)
    if first == "self":
        return resolve_in(module, rest, depth)
    return resolve_in(module, path, depth)


def resolve_in(module, path, depth):
    if not path or module is None:
        return []
    first, rest = path[0], path[1:]
    if first == "super":
        return resolve_in(module.parent, rest, depth)
    if first in module.children and rest:
        return resolve_in(module.children[first], rest, depth)
    if first in module.definitions:
        return [(module.file, first)]
    for name, target, _ in module.imports:
        if name == first:
            path_there = target + rest
        elif name == "*" and target[0] in {"crate", "self", "super", *module.children}:
            path_there = target + path
        else:
            continue
        found = resolve(module, path_there, depth + 1) if path_there != path else []
        if found:
            return found + ([(module.file, first)] if module.bodies else [])
    return []


def paths_in(tokens):
    at = 0
    while at < len(tokens):
        if re.match(r"[A-Za-z_]", tokens[at]) and tokens[at - 1] != "::" and tokens[at + 1 : at + 2] == ["::"]:
            path = [tokens[at]]
            while tokens[at + 1 : at + 2] == ["::"] and re.match(r"[A-Za-z_]", tokens[at + 2]):
                path.append(tokens[at + 2])
                at += 2
            yield path
        at += 1


def imports_of(root):
    """`{file: {file: names}}` of a crate."""
    arrows = defaultdict(lambda: defaultdict(set))
    for module in root.modules():
        words = {token for body in module.bodies for token in body}
        wanted = [path for name, path, is_public in module.imports if name != "*" and (not is_public or name in words)]
        globs = [path for name, path, _ in module.imports if name == "*"]
        wanted += [path + [word] for path in globs for word in words]
        wanted += [path for body in module.bodies for path in paths_in(body)]
        for path in wanted:
            for file, name in resolve(module, path):
                if file != module.file:
                    arrows[module.file][file].add(name)
    return arrows


def circles(arrows):
    """Strongly connected components of more than one file (Tarjan), without recursion."""
    index, low, stack, on_stack, found = {}, {}, [], set(), []
    for start in sorted(arrows):
        work = [(start, iter(sorted(arrows[start])))] if start not in index else []
        while work:
            file, targets = work[-1]
            if file not in index:
                index[file] = low[file] = len(index)
                stack.append(file)
                on_stack.add(file)
            for target in targets:
                if target not in index:
                    work.append((target, iter(sorted(arrows.get(target, {})))))
                    break
                if target in on_stack:
                    low[file] = min(low[file], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[file])
                if low[file] == index[file]:
                    component = stack[stack.index(file) :]
                    del stack[stack.index(file) :]
                    on_stack.difference_update(component)
                    if len(component) > 1:
                        found.append(sorted(component))
    return found


def roots(crate):
    source = crate / "src"
    yield from (path for path in (source / "lib.rs", source / "main.rs") if path.exists())
    yield from sorted(source.glob("bin/*.rs"))
    yield from sorted(source.glob("bin/*/main.rs"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", nargs="?", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    parser.add_argument("--all", action="store_true", help="print the imports of all files")
    arguments = parser.parse_args()
    repository = arguments.repository
    count = num_files = 0
    for manifest in sorted(repository.glob("*/Cargo.toml")):
        for root in roots(manifest.parent):
            tree = parse_file(root, None, root.parent)
            num_files += len({module.file for module in tree.modules()})
            arrows = imports_of(tree)
            wanted = [list(arrows)] if arguments.all else circles(arrows)
            for circle in wanted:
                if not arguments.all:
                    count += 1
                    print(f"circle of {len(circle)} files:")
                for file in circle:
                    for target in sorted(arrows[file]):
                        if arguments.all or target in circle:
                            names = ", ".join(sorted(arrows[file][target]))
                            print(f"  {file.relative_to(repository)} -> {target.relative_to(repository)}: {names}")
    print(f"{num_files} files, {count} circles of imports")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
