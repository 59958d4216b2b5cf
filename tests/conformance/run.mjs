// Runs the conformance suite: `node run.mjs PROGRAM [--data FOLDER | --nats SERVER [--hubs N]] [argument for vitest]…`.
//
// PROGRAM is `headwater`, `cargo build -p headwater-cli`. `headwater serve` starts on a free port, with its streams under
// /v1/stream, and stops after the suite. Its log is in memory, in FOLDER, or on a server that is started from the program
// SERVER, `nats-server`. With `--hubs N`, N of them share the log, and a proxy sends each request to the next one. The exit
// status is the suite's; a skipped or missing test counts as a failure.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request as forward } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const START_MS = 30_000;
const SUITE_MS = 600_000;
// The number of tests in the pinned version of the suite.
const TESTS = 338;
// The suite has webhooks on its own machine, and waits 2 s for a long-poll.
const SETTINGS = 'loopback_webhooks = true\nlong_poll = "2s"\nshutdown_deadline = "2s"\n';
// One server, which syncs nothing.
const ON_SERVER = ["--durability", "memory", "--nats-replicas", "1"];

const [program, ...rest] = process.argv.slice(2);
if (!program) {
  console.error("usage: node run.mjs PROGRAM [--data FOLDER | --nats SERVER [--hubs N]] [argument for vitest]…");
  process.exit(2);
}
const option = (name) => (rest[0] === name ? rest.splice(0, 2)[1] : undefined);
const folder = mkdtempSync(join(tmpdir(), "headwater-conformance-"));
const config = join(folder, "headwater.toml");
writeFileSync(config, SETTINGS);
const running = [];
process.on("exit", () => {
  for (const child of running) child.kill("SIGTERM");
  rmSync(folder, { recursive: true, maxRetries: 10 });
});

// Starts a program. Returns what the pattern finds in its output.
function start(command, options, output, pattern) {
  const child = spawn(command, options, { stdio: ["ignore", "pipe", output === "stderr" ? "pipe" : "inherit"] });
  running.push(child);
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`${command} did not start in time`)), START_MS);
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`${command} ended with ${code}`)));
    createInterface({ input: child[output] }).on("line", (line) => {
      const found = pattern.exec(line)?.[1];
      if (found) {
        clearTimeout(late);
        resolve(found);
      }
    });
  });
}

// A port that the system has just chosen.
async function freePort() {
  const probe = createServer();
  await new Promise((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

// Waits until each hub knows the owner of the log.
async function owned(urls) {
  const until = Date.now() + START_MS;
  for (const url of urls) {
    while ((await fetch(`${url}/v1/stream/__ds/subscriptions/none`)).status !== 404) {
      if (Date.now() > until) throw new Error(`${url} knows no owner`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

// Starts a hub. Returns its URL.
async function hub(address, ...more) {
  // The suite asks as a page of https://example.com what it may send.
  const options = ["--listen", address, "--root", "/v1/stream", "--cors", "any", "--config", config];
  // Refused requests are a part of the suite.
  options.push("--log", "warn,headwater::access=off");
  const url = await start(program, ["serve", ...options, ...more], "stdout", / listens on (http:\S+)/);
  return url.replace(/\/$/, "");
}

// Starts a server for the log. Returns its URL.
async function server(command) {
  const options = ["--addr", "127.0.0.1", "--port", "-1", "--jetstream", "--store_dir", join(folder, "jetstream")];
  return `nats://${await start(command, options, "stderr", /Listening for client connections on (\S+)/)}`;
}

// Starts a proxy that sends each request to the next hub. Returns its URL.
function roundRobin(urls) {
  let next = 0;
  const proxy = createServer((request, response) => {
    const url = urls[next++ % urls.length];
    const { method, headers } = request;
    const call = forward(new URL(request.url, url), { method, headers, agent: false }, (answer) => {
      response.writeHead(answer.statusCode, answer.statusMessage, answer.rawHeaders);
      answer.pipe(response);
      answer.on("error", () => response.destroy());
    });
    call.on("error", () => response.destroy());
    response.on("close", () => call.destroy());
    request.pipe(call);
  });
  // The suite's process can be busy for longer than the default, and then uses a connection that was closed meanwhile.
  proxy.keepAliveTimeout = 0;
  process.on("exit", () => proxy.close());
  return new Promise((resolve) => {
    proxy.listen(0, "127.0.0.1", () => resolve(`http://127.0.0.1:${proxy.address().port}`));
  });
}

// Starts the hubs. Returns the URL of what they serve.
async function hubs() {
  const program = option("--nats");
  if (!program) return hub("127.0.0.1:0", "--data", option("--data") ?? "memory");
  const count = Number(option("--hubs") ?? 1);
  const data = ["--data", await server(program), ...ON_SERVER];
  const urls = [];
  while (urls.length < count) {
    const address = `127.0.0.1:${await freePort()}`;
    urls.push(await hub(address, ...data, "--advertise", `http://${address}`));
  }
  // Until then, requests that belong to the owner are refused.
  await owned(urls);
  return count > 1 ? roundRobin(urls) : urls[0];
}

const url = await hubs();
const results = join(folder, "results.json");
const suite = spawn(
  process.execPath,
  ["node_modules/vitest/vitest.mjs", "run", "--reporter=default", "--reporter=json", `--outputFile.json=${results}`, ...rest],
  { cwd: import.meta.dirname, env: { ...process.env, HUB_URL: url }, stdio: "inherit", timeout: SUITE_MS },
);
const [code] = await once(suite, "exit");
const { numPassedTests, numPendingTests } = JSON.parse(readFileSync(results, "utf8"));
console.log(`conformance: ${numPassedTests} of ${TESTS} passed, ${numPendingTests} skipped`);
// A filter on the command line excludes some.
const whole = rest.length > 0 || numPassedTests === TESTS;
if (!whole) console.error(`conformance: the suite has ${TESTS} tests, and each of them is to pass`);
// The caller removes a hub's folder, so the hub must have ended.
const alive = running.filter((child) => child.exitCode === null && child.signalCode === null);
const ends = alive.map((child) => once(child, "exit"));
for (const child of alive) child.kill("SIGTERM");
await Promise.all(ends);
process.exit(code === 0 && whole ? 0 : 1);
