// The subset of JSON Schema that a form needs: allowed values and an example.

const MAX_DEPTH = 8;

/** Follows local references. Returns the schema that `schema` refers to. */
export function resolve(document, schema) {
  let current = schema ?? {};
  for (let hops = 0; hops < 32 && typeof current?.$ref === "string"; hops += 1) {
    const { $ref, ...own } = current;
    const target = lookUp(document, $ref);
    if (target === undefined) return own;
    // Keywords beside a reference, such as a description, override those of its target.
    current = typeof target === "object" ? { ...target, ...own } : target;
  }
  return current;
}

/** Returns the value at a reference such as `#/components/schemas/Tick`. */
export function lookUp(document, reference) {
  if (!reference.startsWith("#")) return undefined;
  let value = document;
  for (const part of reference.slice(1).split("/").slice(1)) {
    const key = decodeFragment(part).replaceAll("~1", "/").replaceAll("~0", "~");
    if (value === null || typeof value !== "object" || !Object.hasOwn(value, key)) return undefined;
    value = value[key];
  }
  return value;
}

function decodeFragment(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Returns the non-null branch of a nullable schema, and the schema in an `allOf` with one element. */
export function core(document, schema) {
  const resolved = resolve(document, schema);
  for (const keyword of ["anyOf", "oneOf", "allOf"]) {
    const branches = resolved[keyword]?.filter((branch) => resolve(document, branch).type !== "null");
    if (branches?.length === 1) {
      const { [keyword]: _, ...own } = resolved;
      return { ...core(document, branches[0]), ...own };
    }
  }
  return resolved;
}

/** Returns the first type that isn't null: "integer", "string", "array", … */
export function typeOf(document, schema) {
  const { type, enum: values, properties, items, const: constant } = core(document, schema);
  const first = Array.isArray(type) ? type.find((name) => name !== "null") : type;
  if (first) return first;
  if (properties) return "object";
  if (items) return "array";
  const sample = constant ?? values?.[0];
  return sample === undefined || sample === null ? "any" : typeof sample;
}

/** Returns the values of an enumeration, each with its description, or `null` for other schemas. */
export function choices(document, schema) {
  const own = core(document, schema);
  if (Array.isArray(own.enum)) return own.enum.filter((value) => value !== null).map((value) => ({ value, description: "" }));
  if (own.const !== undefined) return [{ value: own.const, description: "" }];
  const branches = own.oneOf ?? own.anyOf;
  if (!branches?.length) return null;
  const all = branches.map((branch) => choices(document, branch)?.map((choice) => ({ ...choice, description: resolve(document, branch).description ?? "" })));
  return all.every(Boolean) ? all.flat() : null;
}

/** Describes the limits of a field's value: "1 to 1000", "at most 20 characters", … */
export function limits(document, schema) {
  const own = core(document, schema);
  const said = [];
  // JavaScript can't represent the bounds of a 64-bit range, and they are not informative.
  const exact = (bound) => (Math.abs(bound) <= Number.MAX_SAFE_INTEGER ? bound : undefined);
  const low = exact(own.minimum ?? own.exclusiveMinimum);
  const high = exact(own.maximum ?? own.exclusiveMaximum);
  const unsigned = /^uint/.test(own.format) && low === 0 && high === undefined;
  const above = own.minimum === undefined && low !== undefined ? "more than " : "";
  const below = own.maximum === undefined && high !== undefined ? "less than " : "";
  if (low !== undefined && high !== undefined && !above && !below) said.push(`${low} to ${high}`);
  else {
    if (low !== undefined && !unsigned) said.push(above ? `${above}${low}` : `at least ${low}`);
    if (high !== undefined) said.push(below ? `${below}${high}` : `at most ${high}`);
  }
  if (own.multipleOf !== undefined) said.push(`a multiple of ${own.multipleOf}`);
  if (own.minLength || own.maxLength !== undefined) said.push(`${range(own.minLength, own.maxLength)} characters`);
  if (own.minItems || own.maxItems !== undefined) said.push(`${range(own.minItems, own.maxItems)} items`);
  if (own.pattern) said.push(`matches ${own.pattern}`);
  return said.join(", ");
}

function range(low, high) {
  if (low && high !== undefined) return low === high ? `${low}` : `${low} to ${high}`;
  return low ? `at least ${low}` : `at most ${high}`;
}

const STRINGS = {
  "date-time": "2026-01-01T12:00:00Z",
  date: "2026-01-01",
  time: "12:00:00Z",
  duration: "PT1M",
  uuid: "3fa85f64-5717-4562-b3fc-2c963f66afa6",
  email: "user@example.com",
  uri: "https://example.com/",
  hostname: "example.com",
  ipv4: "192.0.2.1",
  ipv6: "2001:db8::1",
};

/** Returns a value that a schema allows, based on its examples if it has any. */
export function skeleton(document, schema, depth = 0) {
  if (schema === true || depth > MAX_DEPTH) return null;
  const own = core(document, schema);
  const given = [own.examples?.[0], own.example, own.default, own.const, own.enum?.[0]].find((value) => value !== undefined);
  if (given !== undefined) return given;
  const branches = own.oneOf ?? own.anyOf;
  const chosen = branches?.length ? skeleton(document, branches[0], depth + 1) : undefined;
  const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  if (chosen !== undefined && !own.properties) return chosen;
  if (own.allOf?.length) {
    const parts = own.allOf.map((part) => skeleton(document, part, depth + 1));
    if (parts.every(isObject)) return Object.assign({}, ...parts, properties(document, own, depth));
    return parts[0];
  }
  switch (typeOf(document, own)) {
    case "object":
      return { ...(isObject(chosen) ? chosen : {}), ...properties(document, own, depth) };
    case "array":
      return own.items && depth < MAX_DEPTH ? [skeleton(document, own.items, depth + 1)] : [];
    case "string":
      return STRINGS[own.format] ?? "string".padEnd(own.minLength ?? 0, "s").slice(0, own.maxLength ?? undefined);
    case "integer":
    case "number":
      return own.minimum ?? (own.exclusiveMinimum !== undefined ? own.exclusiveMinimum + 1 : Math.min(0, own.maximum ?? 0));
    case "boolean":
      return false;
    default:
      return null;
  }
}

function properties(document, schema, depth) {
  const made = {};
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    const required = schema.required?.includes(name);
    // At depth, only required properties: a schema may contain itself.
    if (required || depth < 2) made[name] = skeleton(document, property, depth + 1);
  }
  return made;
}
