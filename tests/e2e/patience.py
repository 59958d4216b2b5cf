"""An HTTP adapter for `requests` that doesn't wait for streams to end."""

import io
import json
import time

import requests.adapters
import urllib3

# Maximum time and size for reading a body.
SECONDS = 0.1
BYTES = 16 * 1024


class Impatient(requests.adapters.HTTPAdapter):
    """Returns the items that arrive within a moment as if they were the whole body.

    A client that waits for the end of each response, as most test tools do, would never finish an
    endless stream. A body that ends within that moment is returned unchanged, and a truncated one
    is an error.
    """

    def __init__(self, seconds=SECONDS):
        super().__init__()
        self.seconds = seconds

    def send(self, request, *args, **kwargs):
        kwargs["stream"] = True
        response = super().send(request, *args, **kwargs)
        body, ended = read_for_a_moment(response.raw, self.seconds)
        if not ended:
            response.close()
            body = whole_items(response.headers.get("Content-Type", ""), body)
        response.raw = urllib3.HTTPResponse(
            io.BytesIO(body),
            headers=response.raw.headers,
            status=response.status_code,
            preload_content=False,
            decode_content=False,
            # A `HEAD` response has the length of a body, but no body.
            request_method=request.method,
        )
        return response


def read_for_a_moment(raw, seconds):
    """The received part of a body, and `True` if it is complete."""
    body = bytearray()
    connection = raw.connection
    # The body arrived with the head, or it ends with the connection (`Connection: close`): it has an end.
    if connection is None or connection.sock is None:
        return raw.read(decode_content=True), True
    connection.sock.settimeout(seconds)
    deadline = time.monotonic() + seconds
    try:
        for chunk in raw.stream(decode_content=True):
            body += chunk
            if len(body) >= BYTES or time.monotonic() > deadline:
                return bytes(body), False
    except urllib3.exceptions.ReadTimeoutError:
        return bytes(body), False
    return bytes(body), True


def whole_items(content_type, body):
    """The items of a body that was left before its end, without the truncated one."""
    media_type = content_type.split(";")[0].strip()
    if media_type == "application/json":
        items, text, position = [], body.decode(errors="ignore"), 1
        while True:
            while position < len(text) and text[position] in ", \r\n":
                position += 1
            try:
                item, position = json.JSONDecoder().raw_decode(text, position)
            except json.JSONDecodeError:
                break
            if position == len(text):
                break  # A number may continue.
            items.append(item)
        return json.dumps(items).encode()
    end = b"\n\n" if media_type == "text/event-stream" else b"\n"
    return body[: body.rfind(end) + len(end)] if end in body else b""
