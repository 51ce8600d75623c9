#!/usr/bin/python3
"""Runs one linter of pkilint and takes off what tests/clients/pkilint.allow says pkilint has wrong.

Usage: pkilint.py SUBJECT USED LINTER ARGUMENTS…   prints what is left, exits 1 if anything is.
SUBJECT names the object in the allow-list; codes that were allowed are appended to the file USED.
"""
import json
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


def allowed():
    """Subject, code and what the whole message must match; the citation is for people."""
    entries = []
    for line in (HERE / "pkilint.allow").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            subject, code, message, why = line.split(None, 3)
            if "RFC" not in why:
                sys.exit(f"pkilint.allow: {code} cites no RFC")
            entries.append((subject, code, message))
    return entries


def main():
    subject, used, linter, *arguments = sys.argv[1:]
    program = HERE.parent / ".cache" / "pkilint" / "bin" / linter
    run = subprocess.run([program, "lint", "-s", "NOTICE", "-f", "JSON", *arguments], capture_output=True, text=True)
    try:
        results = json.loads(run.stdout)["results"]
    except (ValueError, KeyError):
        sys.exit(f"{linter} gave no verdict: {run.stdout[-500:]}{run.stderr[-1500:]}")
    allow, left = allowed(), []
    for result in results:
        for finding in result["finding_descriptions"]:
            said = (finding["message"] or "-").replace(" ", "_")
            of = (key for key in allow if key[:2] == (subject, finding["code"]))
            if key := next((key for key in of if re.fullmatch(key[2], said)), None):
                with open(used, "a") as file:
                    file.write(" ".join(key) + "\n")
            else:
                left.append(f'{finding["severity"]} {finding["code"]} at {result["node_path"]}: {finding["message"]}')
    print("\n".join(left))
    sys.exit(bool(left))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--entries"]:
        print("\n".join(" ".join(key) for key in allowed()))
    else:
        main()
