// Runs the conformance suite: `node run.mjs PROGRAM [--data FOLDER] [argument for vitest]…`.
//
// PROGRAM is `headwater`, `cargo build -p headwater-cli`. `headwater serve` starts on a free port, with its log in memory or
// in FOLDER and its streams under /v1/stream, and stops after the suite. The exit status is the suite's; a skipped or
// missing test counts as a failure.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const START_MS = 30_000;
const SUITE_MS = 600_000;
// The number of tests in the pinned version of the suite.
const TESTS = 338;
// The suite has webhooks on its own machine, and waits 2 s for a long-poll.
const SETTINGS = 'loopback_webhooks = true\nlong_poll = "2s"\nshutdown_deadline = "2s"\n';

const [program, ...rest] = process.argv.slice(2);
if (!program) {
  console.error("usage: node run.mjs PROGRAM [--data FOLDER] [argument for vitest]…");
  process.exit(2);
}
const data = rest[0] === "--data" ? rest.splice(0, 2)[1] : "memory";
const folder = mkdtempSync(join(tmpdir(), "headwater-conformance-"));
const config = join(folder, "headwater.toml");
writeFileSync(config, SETTINGS);

// The suite asks as a page of https://example.com what it may send.
const options = ["--listen", "127.0.0.1:0", "--root", "/v1/stream", "--cors", "any", "--data", data, "--config", config];
// Refused requests are a part of the suite.
options.push("--log", "warn,headwater::access=off");
const hub = spawn(program, ["serve", ...options], { stdio: ["ignore", "pipe", "inherit"] });
const stop = () => hub.kill("SIGTERM");
process.on("exit", () => {
  stop();
  rmSync(folder, { recursive: true });
});

const url = await new Promise((resolve, reject) => {
  const late = setTimeout(() => reject(new Error("the hub did not start in time")), START_MS);
  hub.once("error", reject);
  hub.once("exit", (code) => reject(new Error(`the hub ended with ${code}`)));
  createInterface({ input: hub.stdout }).on("line", (line) => {
    const address = / listens on (http:\S+)/.exec(line)?.[1];
    if (address) {
      clearTimeout(late);
      resolve(address.replace(/\/$/, ""));
    }
  });
});

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
process.exit(code === 0 && whole ? 0 : 1);
