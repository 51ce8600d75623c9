#!/bin/bash
# Every example of every help page, typed as it stands there: help.py does it, in namespaces of its own.
exec python3 "$(dirname "$0")/help.py"
