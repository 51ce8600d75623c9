#!/usr/bin/python3
"""Reads deploy/kubernetes/*.yaml for the tests: `environment` (NAME=VALUE lines, a Secret as secret:NAME/KEY),
`arguments` (one a line), `probe NAME` (its path), `object KIND` and `pod` (the Deployment's, alone) as JSON."""
import json
import pathlib
import sys

import yaml

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
OBJECTS = [o for f in sorted(FOLDER.glob("*.yaml")) for o in yaml.safe_load_all(f.read_text())]


def one(kind):
    [found] = [o for o in OBJECTS if o["kind"] == kind]
    return found


CONTAINER = one("Deployment")["spec"]["template"]["spec"]["containers"][0]


def environment():
    yield from one("ConfigMap")["data"].items()
    for variable in CONTAINER["env"]:
        reference = variable["valueFrom"]["secretKeyRef"]
        yield variable["name"], f"secret:{reference['name']}/{reference['key']}"


match sys.argv[1:]:
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
        sys.exit("usage: manifests.py environment | arguments | probe NAME | object KIND | pod")
