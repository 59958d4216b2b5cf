// Reads `/ticks` with the client that @hey-api/openapi-ts generated, and prints each tick with its
// arrival time in milliseconds. The types are the generated ones: without them this would not
// compile.
// Usage: node read_ticks.js BASE_URL COUNT EVERY_MS

import { client } from "./client/client.gen.js";
import { ticks } from "./client/sdk.gen.js";
import type { Tick } from "./client/types.gen.js";

const [baseUrl = "", count, everyMs] = process.argv.slice(2);
client.setConfig({ baseUrl });
const { stream } = await ticks({
  // The generated client requires this from its user.
  headers: { Accept: "text/event-stream" },
  query: { count: Number(count), every_ms: Number(everyMs) },
});
for await (const item of stream) {
  if (item && "n" in item) {
    const tick: Tick = item;
    console.log(JSON.stringify({ at: performance.now(), n: tick.n, price: tick.price.toFixed(2) }));
  } else {
    console.log(JSON.stringify({ end: item }));
  }
}
