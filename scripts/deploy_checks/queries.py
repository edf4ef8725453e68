"""Queries name tables and columns that the migrations define."""

import pathlib
import re

STUDIO = pathlib.Path(__file__).resolve().parents[2] / "diffusion-studio"
MIGRATIONS = STUDIO / "migrations-postgres"

NO_COLUMNS = {"PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "CONSTRAINT", "EXCLUDE", "LIKE"}
KEYWORDS = set(
    "SELECT FROM WHERE AND OR NOT IN IS NULL AS ON USING JOIN LEFT GROUP ORDER BY ASC DESC LIMIT NULLS LAST FIRST"
    " FILTER INTERVAL BETWEEN DISTINCT CASE WHEN THEN ELSE END EPOCH".split()
)


def tables():
    """The columns of each table of the schema `studio`, by the table's name."""
    files = sorted(MIGRATIONS.glob("*.sql"))
    assert files, f"there are no migrations in {MIGRATIONS}"
    text = "\n".join(re.sub(r"--.*", "", file.read_text(encoding="utf-8")) for file in files)
    found = {}
    for name, body in re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(studio\.\w+) \((.*?)\)\s*;", text, re.DOTALL):
        while "(" in body:
            body, count = re.subn(r"\([^()]*\)", "", body)
            assert count, f"unbalanced parentheses in {name}"
        first_words = (re.match(r'\s*"?(\w+)', column) for column in body.split(","))
        found[name] = {word[1] for word in first_words if word} - NO_COLUMNS
    added = r'ALTER TABLE (studio\.\w+) ADD COLUMN (?:IF NOT EXISTS )?"?(\w+)'
    for name, column in re.findall(added, re.sub(r"\s+", " ", text)):
        found[name].add(column)
    assert "studio.jobs" in found, found.keys()
    return found


def check_query(query, known):
    """Every table is there, and what is no keyword, function or new name is a column of one of them."""
    text = re.sub(r"'[^']*'", "", query)
    named = re.findall(r"\b(?:FROM|JOIN) ([\w.]+)(?![\w.(])", text)
    assert named, f"no table in: {query}"
    for name in named:
        assert name in known, f"the migrations define no {name}: {query}"
    columns = set().union(*(known[name] for name in named))
    renamed = set(re.findall(r"\bAS (\w+)", text))
    for word in re.findall(r'(?<![\w.])"?([A-Za-z_]\w*)"?(?![\w.(])', text):
        if word.upper() not in KEYWORDS and word not in renamed:
            assert word in columns, f"{' and '.join(named)} have no {word}: {query}"


def check_statuses(query):
    """Statuses in a query are words of the migrations or the sources."""
    files = [*MIGRATIONS.glob("*.sql"), *STUDIO.glob("src/**/*.rs")]
    words = {word for file in files for word in re.findall(r"['\"](\w+)['\"]", file.read_text(encoding="utf-8"))}
    asked = [word for group in re.findall(r"\bstatus IN \(([^)]*)\)", query) for word in re.findall(r"'(\w+)'", group)]
    assert asked and set(asked) <= words, set(asked) - words
