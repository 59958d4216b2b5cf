// Prints each event of a stream as one JSON line until the server ends it (204).
// Usage: node read.mjs URL [NAME...]: the names of events to listen for besides `message`.
import { EventSource } from "eventsource";

const [url, ...names] = process.argv.slice(2);
const source = new EventSource(url);

const print = (type) => (event) =>
  console.log(JSON.stringify({ type, id: event.lastEventId, data: JSON.parse(event.data) }));

source.addEventListener("message", print("message"));
for (const name of names) source.addEventListener(name, print(name));
source.addEventListener("open", () => console.log(JSON.stringify({ type: "open" })));
source.addEventListener("error", (event) => {
  const closed = source.readyState === EventSource.CLOSED;
  console.log(JSON.stringify({ type: "error", code: event.code ?? null, closed }));
});
