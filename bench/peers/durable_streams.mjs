// The reference server of the Durable Streams protocol, with its store in files.
//
// `node durable_streams.mjs MODULE PORT FOLDER`
const [module, port, dataDir] = process.argv.slice(2);
const { DurableStreamTestServer } = await import(module);
const server = new DurableStreamTestServer({ host: "127.0.0.1", port: Number(port), dataDir });
await server.start();
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, async () => {
    await server.stop();
    process.exit(0);
  });
}
