//! The texts that `-h` and `--help` show after the options: examples, and in the long form the exit
//! status.

pub(crate) const HEADWATER: &str = "\
Examples:
  headwater serve
  headwater publish orders '{\"id\":1}'
  headwater tail orders
  headwater get 'http://127.0.0.1:8000/streams/orders' --format ndjson

`headwater COMMAND -h` prints a summary, `headwater COMMAND --help` every detail.";

pub(crate) const PUBLISH: &str = "\
Examples:
  headwater publish orders '{\"id\":1}' '{\"id\":2}'
  some-program | headwater publish logs --text
  headwater publish orders --producer import-7 < orders.ndjson";

pub(crate) const TAIL: &str = "\
Examples:
  headwater tail orders
  headwater tail orders --from now --timestamps
  headwater tail 'shops/*/orders' --offsets
  headwater tail orders --since 10m --no-follow";

pub(crate) const RELAY: &str = "\
Examples:
  headwater serve --allow-upstream 'https://api.example.com/v1/**'
  headwater relay https://api.example.com/v1/chat --as answers/42 \\
    -H \"Authorization: Bearer $KEY\" -d '{\"stream\":true}'";

pub(crate) const EXPORT: &str = "\
Examples:
  headwater export -o backup.ndjson
  headwater export orders | jq -c 'select(.offset) | .json'
  headwater export | headwater import --hub http://other:8000";

pub(crate) const IMPORT: &str = "\
Examples:
  headwater import backup.ndjson
  zstd -dc backup.ndjson.zst | headwater import --hub https://hub.example";

pub(crate) const STREAMS: &str = "\
Examples:
  headwater streams ls
  headwater streams create orders --ttl 24h
  headwater streams info orders --json
  headwater streams rm orders";

pub(crate) const STREAMS_LS: &str = "\
Examples:
  headwater streams ls
  headwater streams ls shops/ --json";

pub(crate) const STREAMS_CREATE: &str = "\
Examples:
  headwater streams create orders
  headwater streams create notes --type text/plain --max-age 7d
  headwater streams create orders --schema order.schema.json";

pub(crate) const STREAMS_INFO: &str = "\
Examples:
  headwater streams info orders
  headwater streams info orders --json";

pub(crate) const STREAMS_CLOSE: &str = "\
Example:
  headwater streams close orders";

pub(crate) const STREAMS_RM: &str = "\
Example:
  headwater streams rm orders notes";

pub(crate) const KEYS: &str = "\
Examples:
  headwater keys create --name billing --allow 'read:orders/**'
  headwater keys ls
  headwater keys revoke billing";

pub(crate) const KEYS_CREATE: &str = "\
Examples:
  headwater keys create --name billing --allow 'read,publish:orders/**' --allow list:**
  headwater keys create --name ops --allow 'all:**' --expires 90d > ops.key
  headwater keys create --name app --allow 'publish:logs/**' --rates requests=50,bytes=1MiB

Actions are read, publish, create, delete, list, subscribe, relay, gather and admin, or all of them:
all. In a pattern, * stands for a part of a path and ** for any number of parts.";

pub(crate) const KEYS_LS: &str = "\
Examples:
  headwater keys ls
  headwater keys ls --json --data /var/lib/headwater";

pub(crate) const KEYS_REVOKE: &str = "\
Example:
  headwater keys revoke billing";

pub(crate) const TOKEN: &str = "\
Examples:
  headwater token --jwt-secret-file secret --allow 'read:orders/**' --subject alice
  headwater token --jwt-private-key key.pem --allow 'publish:logs/*' --expires 10m --audience hub";

pub(crate) const OPENAPI: &str = "\
Examples:
  headwater openapi > openapi.json
  headwater openapi --openapi-version 3.1";

pub(crate) const GET: &str = "\
Examples:
  headwater get 'http://127.0.0.1:8000/ticks?count=10'
  headwater get http://127.0.0.1:8000/ticks --max-items 3 --output ticks.ndjson
  headwater get https://api.example.com/chat -d '{\"prompt\":\"hi\"}' --events";

pub(crate) const GATHER: &str = "\
Examples:
  seq -f 'https://api.example.com/items/%g' 1000 | headwater gather --rate 50
  headwater gather calls.ndjson -o results.ndjson
  headwater gather calls.ndjson --resume results.ndjson";

/// Returns the text that `--help` shows after the options: examples, then details with the exit status.
pub(crate) fn long(examples: &str, details: &str) -> String {
    format!("{examples}\n\n{details}")
}
