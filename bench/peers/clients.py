"""One Python client that reads one stream: `clients.py httpx-sse|requests URL COUNT`.

Prints how many nanoseconds it took, from the request to the last item.
"""

import json
import sys
import time

import httpx
import httpx_sse
import requests


def over_httpx_sse(url: str, count: int) -> int:
    read = 0
    with httpx.Client(timeout=60) as client, httpx_sse.connect_sse(client, "GET", url) as source:
        for event in source.iter_sse():
            json.loads(event.data)
            read += 1
            if read == count:
                break
    return read


def over_requests(url: str, count: int) -> int:
    read = 0
    with requests.get(url, stream=True, timeout=60) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            json.loads(line)
            read += 1
            if read == count:
                break
    return read


def main() -> None:
    kind, url, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    clients = {"httpx-sse": over_httpx_sse, "requests": over_requests}
    start = time.monotonic_ns()
    read = clients[kind](url, count)
    if read != count:
        sys.exit(f"{read} items of {count} came")
    print(time.monotonic_ns() - start)


if __name__ == "__main__":
    main()
