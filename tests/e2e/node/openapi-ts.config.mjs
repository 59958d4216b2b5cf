// How @hey-api/openapi-ts makes a client that reads events, from the openapi.json of the folder that
// it runs in.
//
// Of a response's media types it takes one, JSON where there is any, and it doesn't know 3.2's
// `itemSchema`. So its own hook is used to leave it the events alone, and to say in its words what
// it yields: an event's data.

const dataOf = (event) =>
  event.oneOf
    ? { oneOf: event.oneOf.map(dataOf) }
    : (event.properties.data.contentSchema ?? event.properties.data);

const takeEvents = (_method, _path, operation) => {
  for (const response of Object.values(operation.responses)) {
    const events = response.content?.["text/event-stream"];
    if (events) {
      response.content = { "text/event-stream": { schema: dataOf(events.itemSchema) } };
    }
  }
};

export default {
  input: "openapi.json",
  logs: { file: false },
  output: { module: { extension: ".js" }, path: "client" },
  parser: { patch: { operations: takeEvents } },
  plugins: ["@hey-api/client-fetch", "@hey-api/typescript", "@hey-api/sdk"],
};
