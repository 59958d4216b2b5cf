// Conversion of the form's values to a request.

/**
 * Builds the request of an operation.
 *
 * `values` are the texts of the parameters by "in name", without empty ones. `body` is text or `null`.
 * `credentials` has, by scheme name, a text, or `{ user, password }` for basic authentication.
 */
export function buildRequest(operation, base, { values, body, contentType, accept, credentials }) {
  const request = { method: operation.method, url: "", accept, headers: [], cookies: [], body: null };
  const query = [];
  let path = operation.path;
  for (const parameter of operation.parameters) {
    const text = values.get(`${parameter.in} ${parameter.name}`) ?? "";
    if (text === "") continue;
    if (parameter.in === "path") {
      path = path.replaceAll(`{${parameter.name}}`, pathText(parameter, text));
    } else if (parameter.in === "query") {
      query.push(...queryPairs(parameter, text));
    } else if (parameter.in === "header") {
      request.headers.push([parameter.name, joined(parameter, text)]);
    } else {
      request.cookies.push([parameter.name, cookieText(joined(parameter, text))]);
    }
  }
  if (body !== null && body !== "") {
    request.headers.push(["Content-Type", contentType]);
    request.body = body;
  }
  addCredentials(operation.security.schemes, credentials, request, query);
  request.url = base.href.replace(/\/$/, "") + path + (query.length ? `?${query.join("&")}` : "");
  return request;
}

/** Returns all headers to send. The first selects the format. */
export function allHeaders(request) {
  return [["Accept", request.accept], ...request.headers];
}

/** Returns the path parameters without a value. The URL requires them. */
export function missingInPath(operation, values) {
  return operation.parameters.filter((parameter) => parameter.in === "path" && !values.get(`path ${parameter.name}`));
}

/** Parses the members of a list or object from JSON or from comma-separated values. */
function parts(parameter, text) {
  if (parameter.type === "array") {
    const list = parseJson(text);
    return Array.isArray(list) ? list.map(plain) : text.split(",").map((part) => part.trim());
  }
  const object = parameter.type === "object" ? parseJson(text) : null;
  return object !== null && typeof object === "object" ? Object.entries(object).map(([key, value]) => [key, plain(value)]) : null;
}

function pathText(parameter, text) {
  const members = parts(parameter, text);
  if (!members) return encodeURIComponent(text);
  return members.flat().map(encodeURIComponent).join(",");
}

function queryPairs(parameter, text) {
  const name = encodeURIComponent(parameter.name);
  const members = parts(parameter, text);
  if (!members) return [`${name}=${encodeURIComponent(text)}`];
  const isObject = parameter.type === "object";
  if (parameter.style === "deepObject" && isObject) {
    return members.map(([key, value]) => `${encodeURIComponent(`${parameter.name}[${key}]`)}=${encodeURIComponent(value)}`);
  }
  if (parameter.explode) {
    return members.map((member) => (isObject ? member.map(encodeURIComponent).join("=") : `${name}=${encodeURIComponent(member)}`));
  }
  const separator = { spaceDelimited: "%20", pipeDelimited: "%7C" }[parameter.style] ?? ",";
  return [`${name}=${members.flat().map(encodeURIComponent).join(separator)}`];
}

function joined(parameter, text) {
  const members = parts(parameter, text);
  return members ? members.flat().join(",") : text;
}

function plain(value) {
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Returns a text of RFC 6265's cookie-octets unchanged, and any other text percent-encoded. */
function cookieText(text) {
  return /^[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*$/.test(text) ? text : encodeURIComponent(text);
}

function addCredentials(schemes, credentials, request, query) {
  for (const scheme of schemes) {
    const given = credentials.get(scheme.name);
    if (!given) continue;
    if (scheme.type === "apiKey") {
      if (scheme.in === "header") request.headers.push([scheme.parameter, given]);
      else if (scheme.in === "query") query.push(`${encodeURIComponent(scheme.parameter)}=${encodeURIComponent(given)}`);
      else request.cookies.push([scheme.parameter, cookieText(given)]);
    } else if (isBasic(scheme)) {
      if (given.user || given.password) request.headers.push(["Authorization", `Basic ${base64(`${given.user}:${given.password}`)}`]);
    } else {
      request.headers.push(["Authorization", `Bearer ${given}`]);
    }
  }
}

export function isBasic(scheme) {
  return scheme.type === "http" && scheme.scheme?.toLowerCase() === "basic";
}

function base64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
