// Uses a stream with the protocol's own JavaScript client. Prints the results as JSON on standard output.
// Usage: node durable_streams.mjs URL: the URL of a stream that doesn't exist yet.
import { DurableStream, IdempotentProducer, stream } from "@durable-streams/client";

const url = process.argv[2];
const seen = {};

const handle = await DurableStream.create({ url, contentType: "application/json" });
await handle.append(JSON.stringify({ n: 0 }));

// Live readers that started before the appends, one in each mode. Each stops after it has seen everything.
const LAST = 1000;
const follow = async (live) => {
  const items = [];
  const response = await stream({ url, live, offset: "-1" });
  await new Promise((resolve, reject) => {
    response.closed.catch(reject);
    response.subscribeJson((batch) => {
      items.push(...batch.items.map((item) => item.n));
      if (items.at(-1) >= LAST) resolve();
    });
  });
  response.cancel();
  return items;
};
const following = ["sse", "long-poll"].map(follow);

const errors = [];
const producer = new IdempotentProducer(handle, "counter", {
  autoClaim: true,
  lingerMs: 1,
  maxBatchBytes: 512,
  onError: (error) => errors.push(String(error)),
});
for (let n = 1; n <= LAST; n += 1) producer.append(JSON.stringify({ n }));
await producer.flush();
seen.epoch = producer.epoch;
// The next run of the producer continues where this one ended.
const next = new IdempotentProducer(handle, "counter", { epoch: producer.epoch, autoClaim: true });
await producer.detach();
await next.restart();
seen.nextEpoch = next.epoch;
seen.errors = errors;

[seen.sse, seen.longPoll] = await Promise.all(following);
await next.close(JSON.stringify({ n: LAST + 1 }));
seen.whole = (await (await stream({ url, live: false })).json()).map((item) => item.n);
const half = await stream({ url, live: false });
await half.json();
seen.resumed = await (await stream({ url, live: false, offset: half.offset })).json();
seen.head = await handle.head();
await handle.delete();
seen.gone = await stream({ url, live: false }).then(
  () => "still there",
  (error) => error.status ?? error.code,
);
console.log(JSON.stringify(seen));
process.exit(0);
