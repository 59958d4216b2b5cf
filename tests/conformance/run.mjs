// Runs the conformance suite: `node run.mjs PROGRAM [--data FOLDER] [argument for vitest]…`.
//
// PROGRAM is the tests' hub, `cargo build -p headwater-tests --bin hub-server`. It starts on a free port, with its log in
// memory or in FOLDER, and stops after the suite. The exit status is the suite's; a skipped or missing test counts as a
// failure.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const START_MS = 30_000;
const SUITE_MS = 600_000;
// The number of tests in the pinned version of the suite.
const TESTS = 338;

const [program, ...rest] = process.argv.slice(2);
if (!program) {
  console.error("usage: node run.mjs PROGRAM [--data FOLDER] [argument for vitest]…");
  process.exit(2);
}
const data = rest[0] === "--data" ? rest.splice(0, 2) : [];

// The suite asks as a page of https://example.com what it may send.
const hub = spawn(program, ["--root", "/v1/stream", "--cors", "any", ...data], { stdio: ["ignore", "pipe", "inherit"] });
const stop = () => hub.kill("SIGTERM");
process.on("exit", stop);

const url = await new Promise((resolve, reject) => {
  const late = setTimeout(() => reject(new Error("the hub did not start in time")), START_MS);
  hub.once("error", reject);
  hub.once("exit", (code) => reject(new Error(`the hub ended with ${code}`)));
  createInterface({ input: hub.stdout }).on("line", (line) => {
    const address = /listening on (http:\S+)/.exec(line)?.[1];
    if (address) {
      clearTimeout(late);
      resolve(address.replace(/\/$/, ""));
    } else {
      console.log(line);
    }
  });
});

const folder = mkdtempSync(join(tmpdir(), "headwater-conformance-"));
const results = join(folder, "results.json");
const suite = spawn(
  process.execPath,
  ["node_modules/vitest/vitest.mjs", "run", "--reporter=default", "--reporter=json", `--outputFile.json=${results}`, ...rest],
  { cwd: import.meta.dirname, env: { ...process.env, HUB_URL: url }, stdio: "inherit", timeout: SUITE_MS },
);
const [code] = await once(suite, "exit");
let whole = false;
try {
  const { numPassedTests, numTotalTests, numPendingTests } = JSON.parse(readFileSync(results, "utf8"));
  console.log(`conformance: ${numPassedTests} of ${numTotalTests} passed, ${numPendingTests} skipped`);
  // A filter on the command line excludes some.
  whole = rest.length > 0 || numPassedTests === TESTS;
  if (!whole) console.error(`conformance: the suite has ${TESTS} tests, and each of them is to pass`);
} finally {
  rmSync(folder, { recursive: true });
}
process.exit(code === 0 && whole ? 0 : 1);
