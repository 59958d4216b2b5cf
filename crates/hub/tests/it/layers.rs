//! The layers of the crate: which modules a layer may import.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules whose imports are restricted.
const RESTRICTED: [&str; 12] = [
    "access",
    "durable",
    "fanout",
    "forward",
    "gather",
    "http",
    "ingest",
    "ownership",
    "relay",
    "requests",
    "state",
    "subscriptions",
];

/// Each layer with the restricted modules that it imports, besides its own.
const RULES: &[(&str, &[&str])] = &[
    ("access", &["requests", "state"]),
    ("fanout", &["ingest", "requests"]),
    ("forward", &["ingest", "ownership", "requests", "state"]),
    (
        "gather",
        &[
            "access",
            "fanout",
            "http",
            "ingest",
            "relay",
            "requests",
            "state",
            "subscriptions",
        ],
    ),
    (
        "http",
        &[
            "access",
            "fanout",
            "forward",
            "ingest",
            "requests",
            "state",
            "subscriptions",
        ],
    ),
    ("ingest", &["requests"]),
    ("ownership", &[]),
    ("protocol", &[]),
    (
        "relay",
        &[
            "access",
            "fanout",
            "http",
            "ingest",
            "requests",
            "state",
            "subscriptions",
        ],
    ),
    ("relay/upstream", &["fanout", "requests"]),
    ("requests", &[]),
    ("subscriptions", &["access", "ownership", "requests"]),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the source") {
        let path = entry.expect("an entry of it").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// The modules of the crate's root that a source file names.
fn imports(source: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut found = Vec::new();
    for (at, _) in source.match_indices("crate::") {
        let rest = &source[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push(name(rest));
            continue;
        };
        let (mut depth, mut is_first) = (1, true);
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' => is_first = depth == 1,
                c if is_first && !c.is_whitespace() => {
                    found.push(name(&group[at..]));
                    is_first = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

#[test]
fn no_layer_imports_one_above_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (layer, allowed) in RULES {
        let own = layer.split('/').next().expect("a layer has a name");
        let may_import = |module: &str| {
            module == own || allowed.contains(&module) || !RESTRICTED.contains(&module)
        };
        let files = sources(&source.join(layer));
        assert!(!files.is_empty(), "{layer}");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for import in imports(&text) {
                assert!(may_import(&import), "{} imports {import}", file.display());
            }
            assert!(
                may_import("state") || !text.contains("HubState"),
                "{} sees the state",
                file.display()
            );
        }
    }
}

#[test]
fn imports_are_found_in_any_form() {
    let source =
        "use crate::{a::{x, y}, b,\n    c::Z};\nuse crate::d::e;\nfn f() { crate::g::h() }";
    assert_eq!(imports(source), ["a", "b", "c", "d", "g"]);
}
