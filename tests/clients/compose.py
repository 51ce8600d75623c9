#!/usr/bin/python3
"""Reads docker-compose.yml as an engine would, with the hosts and ports of this machine in place of the containers'.

Usage: compose.py FILE PART MAP…   PART is before (the commands of the header), environment, command, health, database,
images (those that others made) or recipe (the Dockerfile). MAP is OLD=NEW, replaced in every value. Variables come from the environment: ${A}, ${A:-b}, ${A:?why}.
"""
import os
import re
import sys

import yaml


def interpolate(text):
    def value(match):
        if match.group(0) == "$$":
            return "$"
        name, sign, rest = match.group(1), match.group(2), match.group(3)
        if os.environ.get(name):
            return os.environ[name]
        if sign == ":-":
            return rest
        sys.exit(f"docker-compose.yml wants {name}: {rest}")

    return re.sub(r"\$\$|\$\{(\w+)(?:(:[-?])([^}]*))?\}", value, text)


def walk(node, maps):
    if isinstance(node, dict):
        return {key: walk(value, maps) for key, value in node.items()}
    if isinstance(node, list):
        return [walk(value, maps) for value in node]
    if isinstance(node, str):
        node = interpolate(node)
        for old, new in maps:
            node = node.replace(old, new)
    return node


def main():
    file, part, *maps = sys.argv[1:]
    text = open(file).read()
    if part == "before":
        print("\n".join(line[4:] for line in text.splitlines() if line.startswith("#   (")))
        return
    services = walk(yaml.safe_load(text), [m.split("=", 1) for m in maps])["services"]
    chancery, postgres = services["chancery"], services["postgres"]
    if part == "environment":
        for key, value in chancery["environment"].items():
            print(f"{key}={value}")
    elif part == "command":
        print("\n".join(chancery["command"]))
    elif part == "health":
        assert chancery["healthcheck"]["test"][0] == "CMD"
        print("\0".join(chancery["healthcheck"]["test"][1:]), end="")
    elif part == "database":
        print("\n".join(postgres["environment"][k] for k in ("POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD")))
    elif part == "images":
        arguments = chancery["build"]["args"]
        print("\n".join([arguments["BUILD_IMAGE"], arguments["RUN_IMAGE"], postgres["image"]]))
    elif part == "recipe":
        print(chancery["build"]["dockerfile_inline"], end="")
    else:
        sys.exit(f"no part {part}")


main()
