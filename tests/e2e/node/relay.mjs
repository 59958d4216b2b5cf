// Reads a relay with the protocol's own JavaScript client. Prints the results as JSON on standard output.
// Usage: node relay.mjs URL: the signed URL of the relay, whose upstream is still sending.
import { stream } from "@durable-streams/client";

const url = process.argv[2];
const follow = async (live) => {
  let text = "";
  const response = await stream({ url, live, offset: "-1" });
  await new Promise((resolve, reject) => {
    response.closed.catch(reject);
    response.subscribeText((chunk) => {
      text += chunk.text;
      if (text.includes("[DONE]")) resolve();
    });
  });
  response.cancel();
  return { text, contentType: response.contentType };
};
const [sse, longPoll] = await Promise.all(["sse", "long-poll"].map(follow));
const whole = await (await stream({ url, live: false })).text();
console.log(JSON.stringify({ sse, longPoll, whole }));
process.exit(0);
