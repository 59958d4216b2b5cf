//! The modules that `ARCHITECTURE.md` names.

use std::path::{Path, PathBuf};

/// Returns the folders and files below `folder`.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder can be read") {
            let path = entry.expect("the entry can be read").path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}

/// Returns the texts in backticks in the parentheses that follow each bold term.
fn named(text: &str) -> Vec<&str> {
    let terms = text.split("** (`").skip(1);
    let lists = terms.filter_map(|rest| rest.split(')').next());
    lists
        .flat_map(|list| list.split('`').step_by(2))
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn the_modules_of_the_mechanisms_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).expect("it can be read");
    let paths = below(&root.join("crates"));
    let names = named(&text);
    assert!(names.len() > 15, "{names:?}");
    let missing: Vec<_> = names
        .into_iter()
        .filter(|name| !name.contains("::"))
        .filter(|name| {
            !paths
                .iter()
                .any(|path| path.ends_with(name) || path.ends_with(format!("{name}.rs")))
        })
        .collect();
    assert!(missing.is_empty(), "no such modules: {missing:?}");
}
