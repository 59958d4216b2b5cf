"""One Python way to make many calls at once: `gather.py aiohttp|httpx URL COUNT CONCURRENCY`.

Makes COUNT calls of URL/0, URL/1, …, CONCURRENCY at a time, and prints how many nanoseconds that took,
the CPU time in nanoseconds, and the peak of its memory in bytes. The calls are made by as many tasks as
may be at a time, which take the next one when they have made one: there is no task for each call.
"""

import asyncio
import json
import resource
import sys
import time


async def over_aiohttp(url: str, count: int, concurrency: int) -> int:
    import aiohttp

    numbers, made = iter(range(count)), 0
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def work() -> None:
            nonlocal made
            for n in numbers:
                async with session.get(f"{url}/{n}") as response:
                    response.raise_for_status()
                    json.loads(await response.read())
                made += 1

        await asyncio.gather(*(work() for _ in range(concurrency)))
    return made


async def over_httpx(url: str, count: int, concurrency: int) -> int:
    import httpx

    numbers, made = iter(range(count)), 0
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:

        async def work() -> None:
            nonlocal made
            for n in numbers:
                response = await client.get(f"{url}/{n}")
                response.raise_for_status()
                json.loads(response.content)
                made += 1

        await asyncio.gather(*(work() for _ in range(concurrency)))
    return made


def main() -> None:
    kind, url, count, concurrency = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    ways = {"aiohttp": over_aiohttp, "httpx": over_httpx}
    __import__(kind)
    start, cpu = time.monotonic_ns(), time.process_time_ns()
    made = asyncio.run(ways[kind](url, count, concurrency))
    took, cpu = time.monotonic_ns() - start, time.process_time_ns() - cpu
    if made != count:
        sys.exit(f"{made} calls of {count} were answered")
    print(took, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    main()
