"""Commands and queries in documents: what is typed there is there."""

import re
import shlex

from deploy_checks.queries import check_query, tables


def check(page, program):
    """The page's blocks of shell start the program with its options, and its blocks of SQL ask what there is."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    commands = [line for kind, text in blocks if kind == "sh" for line in text.replace("\\\n", " ").splitlines()]
    started = [shlex.split(line, comments=True) for line in commands if line.split()[:1] == ["studio"]]
    queries = [query for kind, text in blocks if kind == "sql" for query in re.sub(r"--.*", "", text).split(";") if query.strip()]
    assert started and queries, page
    for command in started:
        arguments = [word for word in command[1:] if word != "&"]
        program.role(arguments).check_arguments(arguments)
    for query in queries:
        check_query(query, tables())
