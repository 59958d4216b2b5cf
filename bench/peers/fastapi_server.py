"""FastAPI under uvicorn, as its documentation has it: `EventSourceResponse` and JSON lines for
streams; parameters and bodies that are declared, and so described and checked.

Prints `listening on ADDRESS` and serves until its standard input ends.
"""

import asyncio
import os
import socket
import sys
import threading
import time
from collections.abc import AsyncIterable
from contextlib import asynccontextmanager
from typing import Annotated, Literal

import uvicorn
from fastapi import FastAPI, Query
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel, Field

FIRST = 1_000_000
SYMBOLS = ["ALFA", "BRAV", "CHAR", "DELT", "ECHO", "FOXT", "GOLF", "HOTE"]
NOTE = "last trade, regular session, venue one"
RATE = float(sys.argv[sys.argv.index("--rate") + 1]) if "--rate" in sys.argv else 50.0

readers: set[asyncio.Queue] = set()


class Item(BaseModel):
    n: int
    symbol: str
    price: float
    note: str


def item_at(index: int, n: int | None = None) -> Item:
    cents = 10_000 + index % 8_999 * 10 + 1 + index % 9
    return Item(
        n=FIRST + index if n is None else n,
        symbol=SYMBOLS[index % 8],
        price=cents / 100,
        note=NOTE,
    )


async def produce() -> None:
    index = 0
    due = time.monotonic()
    while True:
        due = max(due + 1 / RATE, time.monotonic())
        await asyncio.sleep(due - time.monotonic())
        item = item_at(index, time.monotonic_ns())
        for reader in readers:
            # A reader that is behind loses the item: its queue is bounded, as in the other servers.
            if not reader.full():
                reader.put_nowait(item)
        index += 1


@asynccontextmanager
async def lifespan(_: FastAPI):
    producer = asyncio.create_task(produce())
    yield
    producer.cancel()


app = FastAPI(lifespan=lifespan)


@app.get("/sse", response_class=EventSourceResponse)
async def sse(count: int) -> AsyncIterable[Item]:
    for index in range(count):
        yield item_at(index)


@app.get("/ndjson")
async def ndjson(count: int) -> AsyncIterable[Item]:
    for index in range(count):
        yield item_at(index)


@app.get("/paced", response_class=EventSourceResponse)
async def paced() -> AsyncIterable[Item]:
    queue: asyncio.Queue[Item] = asyncio.Queue(1024)
    readers.add(queue)
    try:
        while True:
            yield await queue.get()
    finally:
        readers.discard(queue)


@app.get("/idle", response_class=EventSourceResponse)
async def idle() -> AsyncIterable[Item]:
    await asyncio.Event().wait()
    yield item_at(0)


class Order(BaseModel):
    id: Annotated[str, Field(min_length=1, max_length=36)]
    account: Annotated[str, Field(min_length=4, max_length=16)]
    symbol: Annotated[str, Field(min_length=1, max_length=8)]
    side: Literal["buy", "sell"]
    kind: Literal["market", "limit", "stop"]
    quantity: Annotated[int, Field(ge=1, le=1_000_000)]
    price: Annotated[float, Field(ge=0)]
    venue: Annotated[str | None, Field(max_length=16)] = None
    tags: Annotated[list[Annotated[str, Field(max_length=16)]], Field(max_length=8)]
    placed: Annotated[str, Field(min_length=20, max_length=35)]
    note: Annotated[str, Field(max_length=200)]


class Receipt(BaseModel):
    id: str
    total: float


class Quote(BaseModel):
    symbol: str
    quantity: int
    venue: str | None
    price: float


@app.get("/quotes/{symbol}")
async def quote(
    symbol: str,
    quantity: Annotated[int, Query(ge=1, le=1_000_000)],
    venue: Annotated[str | None, Query(max_length=16)] = None,
) -> Quote:
    return Quote(symbol=symbol, quantity=quantity, venue=venue, price=101.25)


@app.post("/orders")
async def place(order: Order) -> Receipt:
    return Receipt(id=order.id, total=order.quantity * order.price)


def end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    threading.Thread(target=end_with_stdin, daemon=True).start()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    print("listening on %s:%d" % listener.getsockname(), flush=True)
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", log_level="warning", access_log=False
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
