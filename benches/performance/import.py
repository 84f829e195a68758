"""Unpacks and parses an export line by line, to compare with: import.py FILE."""

import gzip
import sys

import orjson

rows = 0
with gzip.open(sys.argv[1], "rb") as lines:
    for line in lines:
        row = orjson.loads(line)
        rows += bool(row["DeviceId"])
assert rows
