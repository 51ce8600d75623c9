#!/usr/bin/python3
"""Prints the licences of the crates that the binary is made of: name, version, licence, and the texts that each crate
brings. From `cargo metadata` of this repository, so the crates must be on the machine, as they are after a build."""
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
TEXTS = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT", "UNLICENSE")


def run(*words):
    return subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def linked():
    """(name, version) of what is compiled into the binary: no build scripts' and no tests' crates."""
    lines = run("cargo", "tree", "--locked", "-e", "normal", "--prefix", "none", "--format", "{p}")
    for line in lines.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] != "chancery":
            yield words[0], words[1].removeprefix("v")


def texts(folder):
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name.upper().startswith(TEXTS):
            yield file.name, file.read_text(errors="replace").strip()


def main():
    packages = json.loads(run("cargo", "metadata", "--locked", "--format-version", "1"))["packages"]
    by_name = {(package["name"], package["version"]): package for package in packages}
    print("Chancery is under the Apache License 2.0 (LICENSE). Its program contains the following crates.")
    seen = {}
    missing = []
    for key in sorted(set(linked())):
        package = by_name[key]
        licence = package["license"] or (f"see {package['license_file']}" if package["license_file"] else None)
        if not licence:
            missing.append(f"{key[0]} {key[1]}")
            continue
        print(f"\n{'=' * 80}\n{key[0]} {key[1]}\nLicence: {licence}")
        print(f"Authors: {', '.join(package['authors']) or 'not named'}\nSource: {package['repository'] or 'crates.io'}")
        for name, text in texts(pathlib.Path(package["manifest_path"]).parent):
            first = seen.setdefault(text, f"{name} of {key[0]} {key[1]}")
            of_here = first == f"{name} of {key[0]} {key[1]}"
            print(f"\n--- {name}" + (f"\n{text}" if of_here else f": the same text as {first}"))
    if missing:
        sys.exit("crates without a licence: " + ", ".join(missing))


main()
