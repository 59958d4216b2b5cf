// The protocol's own suite, against the hub at HUB_URL. `run.mjs` starts one.
import { runConformanceTests } from "@durable-streams/server-conformance-tests";

runConformanceTests({
  baseUrl: process.env.HUB_URL,
  subscriptions: true,
  // The timeout of the suite's own example.
  longPollTimeoutMs: 2000,
});
