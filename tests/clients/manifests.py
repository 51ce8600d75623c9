#!/usr/bin/python3
"""Reads deploy/kubernetes/*.yaml for the tests: `environment` (NAME=VALUE lines, a Secret as secret:NAME/KEY),
`arguments` (one a line), `probe NAME` (its path), `object KIND` and `pod` (the Deployment's, alone) as JSON.
Before a command: the name of the Deployment where it is not `chancery`."""
import json
import pathlib
import sys

import yaml

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
OBJECTS = [o for f in sorted(FOLDER.glob("*.yaml")) for o in yaml.safe_load_all(f.read_text())]


NAMES = [o["metadata"]["name"] for o in OBJECTS if o["kind"] == "Deployment"]
WORDS = sys.argv[1:]
NAME = WORDS.pop(0) if WORDS and WORDS[0] in NAMES else "chancery"


def one(kind, name=NAME):
    found = [o for o in OBJECTS if o["kind"] == kind]
    [found] = [o for o in found if len(found) == 1 or o["metadata"]["name"] == name]
    return found


CONTAINER = one("Deployment")["spec"]["template"]["spec"]["containers"][0]


def environment():
    yield from one("ConfigMap")["data"].items()
    for variable in CONTAINER["env"]:
        if "value" in variable:
            yield variable["name"], variable["value"]
            continue
        reference = variable["valueFrom"]["secretKeyRef"]
        yield variable["name"], f"secret:{reference['name']}/{reference['key']}"


match WORDS:
    case ["environment"]:
        print("\n".join(f"{name}={value}" for name, value in environment()))
    case ["arguments"]:
        print("\n".join(CONTAINER["args"]))
    case ["probe", name]:
        print(CONTAINER[name]["httpGet"]["path"])
    case ["object", kind]:
        print(json.dumps(one(kind)))
    case ["pod"]:
        template = one("Deployment")["spec"]["template"]
        where = {"name": "chancery-test", "namespace": "chancery"}
        print(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": where, "spec": template["spec"]}))
    case _:
        sys.exit("usage: manifests.py [DEPLOYMENT] environment | arguments | probe NAME | object KIND | pod")
