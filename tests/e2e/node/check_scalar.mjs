// Checks the OpenAPI document on standard input, and its references, with Scalar's parser.
// Prints one fault per line; exits with 1 if there is any.
// Usage: node check_scalar.mjs < openapi.json

import { text } from "node:stream/consumers";
import { dereference, validate } from "@scalar/openapi-parser";

const document = JSON.parse(await text(process.stdin));
const { valid, errors } = await validate(document);
const { errors: unresolved } = dereference(document);
const wrong = [...(errors ?? []), ...(unresolved ?? [])];
for (const error of wrong) {
  console.log(`${error.path?.join("/") ?? ""}: ${error.message}`);
}
process.exit(valid && wrong.length === 0 ? 0 : 1);
