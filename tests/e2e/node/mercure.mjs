// A publisher and a subscriber with tokens of Mercure: node mercure.mjs URL PUBLISHER SUBSCRIBER.
//
// The subscriber is the `eventsource` package, with its token in a header as the protocol's own examples have it. It prints
// the first two messages, and after a new connection with the id of the first one the second message again.
import { EventSource } from "eventsource";

const [url, publisher, subscriber] = process.argv.slice(2);

const authorized = (input, init) =>
  fetch(input, { ...init, headers: { ...init.headers, authorization: `Bearer ${subscriber}` } });

const publish = async (item) => {
  const headers = { authorization: `Bearer ${publisher}`, "content-type": "application/json", "stream-create": "true" };
  const answer = await fetch(url, { method: "POST", headers, body: JSON.stringify(item) });
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
};

const read = (from, count) =>
  new Promise((resolve, reject) => {
    const source = new EventSource(from, { fetch: authorized });
    const events = [];
    source.onmessage = (event) => {
      events.push({ id: event.lastEventId, data: JSON.parse(event.data) });
      if (events.length === count) {
        source.close();
        resolve(events);
      }
    };
    source.onerror = (error) => {
      source.close();
      reject(new Error(`${error.code} ${error.message}`));
    };
  });

await publish({ n: 1 });
const both = read(url, 2);
await publish({ n: 2 });
const events = await both;
// The parameter that the protocol has for a client without a header of its own.
const again = await read(`${url}?last_event_id=${encodeURIComponent(events[0].id)}`, 1);
console.log(JSON.stringify([...events, ...again].map((event) => event.data.n)));
