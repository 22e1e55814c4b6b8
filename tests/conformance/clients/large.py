"""Reads three streams whole with the official Python client and prints what it found."""

import hashlib
import json
import sys

from durable_streams import stream


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


messages, binary, text = sys.argv[1:]
with stream(messages, live=False) as response:
    items = response.read_json()
with stream(messages, live=False) as response:
    iterated = sum(1 for _ in response.iter_json())
with stream(binary, live=False) as response:
    data = response.read_bytes()
with stream(text, live=False) as response:
    words = response.read_text()
print(
    json.dumps(
        {
            "items": len(items),
            "iterated": iterated,
            "bytes": digest(data),
            "text": digest(words.encode()),
        }
    )
)
