#!/usr/bin/env python3
"""Writes tests/golden/layers/relative_buckets.json: the bucket of every distance (key - query) from -reach - 5 to
reach + 5, by the model code of transformers (T5; MPNet's is compared with it where both have one)."""

import json
import pathlib

import torch
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder
from transformers.models.t5.modeling_t5 import T5Attention

SETTINGS = [(32, 128, True), (32, 128, False), (8, 20, True), (8, 20, False), (16, 64, True), (64, 256, False), (4, 5, True)]
OUT = pathlib.Path(__file__).parent.parent / "tests/golden/layers/relative_buckets.json"


def buckets_of(buckets: int, reach: int, bidirectional: bool) -> list[int]:
    distances = torch.arange(-reach - 5, reach + 6)
    found = T5Attention._relative_position_bucket(distances, bidirectional, buckets, reach)
    if bidirectional:
        other = MPNetEncoder.relative_position_bucket(distances, buckets, reach)
        assert torch.equal(found, other), (buckets, reach)
    return found.tolist()


def main() -> None:
    rows = []
    for buckets, reach, bidirectional in SETTINGS:
        found = buckets_of(buckets, reach, bidirectional)
        rows.append({"buckets": buckets, "distance": reach, "bidirectional": bidirectional, "bucket_of": found})
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text("[\n" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows) + "\n]\n")


if __name__ == "__main__":
    main()
