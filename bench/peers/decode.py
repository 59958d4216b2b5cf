"""The decoder of httpx-sse over a file, in chunks: `decode.py FILE CHUNK_BYTES RUNS`.

Prints how many nanoseconds of CPU time each run took, a line each.
"""

import codecs
import sys
import time

from httpx_sse._decoders import SSEDecoder, SSELineDecoder


def decode(chunks: list[bytes]) -> int:
    text = codecs.getincrementaldecoder("utf-8")(errors="replace")
    lines, events = SSELineDecoder(), SSEDecoder()
    count = 0
    for chunk in chunks:
        for line in lines.decode(text.decode(chunk)):
            if events.decode(line) is not None:
                count += 1
    return count


def main() -> None:
    size, runs = int(sys.argv[2]), int(sys.argv[3])
    with open(sys.argv[1], "rb") as file:
        data = file.read()
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    for _ in range(runs):
        start = time.process_time_ns()
        count = decode(chunks)
        took = time.process_time_ns() - start
        if count * 100 != len(data):
            sys.exit(f"{count} events came of {len(data)} bytes")
        print(took)


if __name__ == "__main__":
    main()
