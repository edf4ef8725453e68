"""Commands and queries in documents: what is typed there is there."""

import re
import shlex

from deploy_checks.queries import check_query, tables


def check(page, program):
    """The page's blocks of shell start the program with its options, and its blocks of SQL ask what there is."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    shell, sql = ("".join(text for kind, text in blocks if kind == wanted) for wanted in ("sh", "sql"))
    lines = [shlex.split(line, comments=True) for line in shell.replace("\\\n", " ").splitlines()]
    started = [words for words in lines if words[:1] == ["studio"]]
    queries = [query for query in re.sub(r"--.*", "", sql).split(";") if query.strip()]
    assert started and queries, page
    for command in started:
        program.role(command[1:]).check_arguments(command[1:])
    for query in queries:
        check_query(query, tables())
