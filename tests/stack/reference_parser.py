"""Reads an exposition from stdin as Python's prometheus_client does, and prints what it found as JSON.

    reference_parser.py openmetrics|text < body

The parser of OpenMetrics is the reference implementation: it refuses whatever the standard forbids. A body that
is gzipped is unpacked first. Exits with 1 and the parser's words when it refuses.
"""

import gzip
import json
import math
import sys

from prometheus_client import openmetrics, parser
import prometheus_client.openmetrics.parser

form, body = sys.argv[1], sys.stdin.buffer.read()
zipped = body.startswith(b"\x1f\x8b")
text = (gzip.decompress(body) if zipped else body).decode("utf-8")
read = {"openmetrics": openmetrics.parser, "text": parser}[form].text_string_to_metric_families
try:
    families = list(read(text))
except ValueError as refusal:
    sys.exit(f"refused: {refusal}")

print(json.dumps({
    "zipped": zipped,
    "families": {family.name: family.type for family in families},
    "samples": sorted(
        [sample.name, sorted(sample.labels.items())] for family in families for sample in family.samples
    ),
    "exemplars": [
        {"sample": sample.name, "le": sample.labels.get("le"), "value": sample.exemplar.value,
         "labels": sample.exemplar.labels, "at": sample.exemplar.timestamp and float(sample.exemplar.timestamp)}
        for family in families for sample in family.samples if getattr(sample, "exemplar", None)
    ],
    "not_a_number": sorted({
        sample.name for family in families for sample in family.samples if math.isnan(sample.value)
    }),
}))
