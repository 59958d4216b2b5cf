// Checks the OpenAPI document on standard input against the official JSON Schema of its version,
// schema objects included. Prints one fault per line; exits with 1 if there is any.
// Usage: node check_schema.mjs 3.1|3.2 < openapi.json

import { text } from "node:stream/consumers";
import { validate as validate31 } from "@hyperjump/json-schema/openapi-3-1";
import { validate as validate32 } from "@hyperjump/json-schema/openapi-3-2";

const version = process.argv[2];
const validate = { 3.1: validate31, 3.2: validate32 }[version];
const document = JSON.parse(await text(process.stdin));
const schema = `https://spec.openapis.org/oas/${version}/schema-base`;
const output = await validate(schema, document, "BASIC");
for (const error of output.errors ?? []) {
  console.log(`${error.instanceLocation} does not hold ${error.absoluteKeywordLocation}`);
}
process.exit(output.valid ? 0 : 1);
