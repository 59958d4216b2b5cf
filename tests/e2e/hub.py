"""A hub in its own process."""

import json

import requests

from programs import binary
from tour import Tour


class Hub(Tour):
    """A running hub. Stores its streams in `data`, otherwise in memory."""

    program = "HEADWATER_HUB"

    def __init__(self, data=None, *more):
        super().__init__(*(["--data", str(data)] if data else []), *more)

    def stream(self, path):
        return self.url(f"/streams/{path}")

    def create(self, path, content_type="application/json", **headers):
        """Creates a stream. Returns its URL."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        url = self.stream(path)
        answer = requests.put(url, headers={"Content-Type": content_type} | headers, timeout=10)
        assert answer.status_code == 201, answer.text
        return url

    def append(self, url, *items, **headers):
        """Appends JSON messages."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = requests.post(
            url,
            data=json.dumps(items),
            headers={"Content-Type": "application/json"} | headers,
            timeout=10,
        )
        assert answer.status_code in (200, 204), answer.text
        return answer


def lines(url, **headers):
    """All messages of a JSON stream."""
    answer = requests.get(
        f"{url}?live=false", headers={"Accept": "application/x-ndjson"} | headers, timeout=30
    )
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.content.splitlines()]
