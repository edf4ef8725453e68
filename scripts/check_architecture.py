#!/usr/bin/env python3
"""Checks that what documents name in backticks is there. Plain Python, nothing to install.

    python3 scripts/check_architecture.py [DOCUMENT...]        (ARCHITECTURE.md, docs/DECISIONS.md and docs/INPUTS.md unless given)

A file or folder, such as `checkpoint/open.rs`, `checkpoint/open` or `scripts/`, must be the end of a path in the repository;
`{a,b}` stands for either, `*` and `<name>` for any name. A test, such as `gguf.rs::a_file_is_read`, must be a function of that file. A name, such as `Pipeline::open` or `key_map`, must be a word of the sources or a file's
stem. Everything else in backticks, and blocks between fences, is not looked at. Exit status 1 if something is not there.
"""

import os
import pathlib
import re
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SKIPPED = {".git", "target"}
SOURCES = {".rs", ".toml"}
FILE = re.compile(r"[\w.{},*<>/-]+\.(rs|py|sh|md|toml|json|gz|safetensors|yml)|[\w.{},*<>-]+/[\w.{},*<>/-]*|\.ci/run")
TEST = re.compile(r"([\w./-]+\.rs)::(\w+)")
NAME = re.compile(r"[A-Za-z_]\w*(::[A-Za-z_]\w*)*(\(\)|!)?")


def main(documents):
    paths, words = read_repository()
    failures = 0
    for document in documents:
        for number, span in spans((REPOSITORY / document).read_text(encoding="utf-8")):
            if test := TEST.fullmatch(span):
                missing = [] if has_function(*test.groups(), paths) else [span]
            elif FILE.fullmatch(span):
                missing = [path for path in expand(span) if not find(path, paths)]
            elif NAME.fullmatch(span):
                missing = [word for word in re.findall(r"\w+", span) if word not in words]
            else:
                continue
            for name in missing:
                failures += 1
                print(f"{document}:{number}: `{span}`: there is no {name}")
    return 1 if failures else 0


def read_repository():
    """All paths, folders with a slash at the end, and all words of the sources."""
    paths, words = [], set()
    for folder, folders, files in os.walk(REPOSITORY):
        folders[:] = [name for name in folders if name not in SKIPPED]
        relative = pathlib.Path(folder).relative_to(REPOSITORY)
        paths += [f"/{(relative / name).as_posix()}/" for name in folders]
        for name in files:
            path = relative / name
            paths.append(f"/{path.as_posix()}")
            if path.suffix in SOURCES:
                words.update(re.findall(r"\w+", (REPOSITORY / path).read_text(encoding="utf-8")))
                words.add(path.stem)
    return paths, words


def spans(text):
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield from ((number, span) for span in re.findall(r"`([^`]+)`", line))


def expand(path):
    """`a/{b,c}.rs` as `a/b.rs` and `a/c.rs`."""
    group = re.search(r"\{([^{}]*)\}", path)
    if not group:
        return [path]
    return [found for name in group[1].split(",") for found in expand(path[: group.start()] + name + path[group.end() :])]


def find(path, paths):
    pattern = re.sub(r"\\\*|<[^>]*>", "[^/]+", re.escape(path))
    pattern = re.compile(f"/(.*/)?{pattern}(/|\\.rs)?")
    return any(pattern.fullmatch(known) for known in paths)


def has_function(file, name, paths):
    pattern = re.compile(f"/(.*/)?{re.escape(file)}")
    texts = ((REPOSITORY / path[1:]).read_text(encoding="utf-8") for path in paths if pattern.fullmatch(path))
    return any(re.search(rf"\bfn {name}\b", text) for text in texts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["ARCHITECTURE.md", "docs/DECISIONS.md", "docs/INPUTS.md"]))
