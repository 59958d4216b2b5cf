// Configures @hey-api/openapi-ts to generate a client that reads events, from the openapi.json in the
// working directory.
//
// It uses one media type of a response, JSON if there is any, and doesn't know 3.2's `itemSchema`. Its
// hook therefore removes all media types but the events, and describes the yielded type: an event's
// data.

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
