//! An empty library: the examples are the folders beside it. It compiles the code in the README and
//! the guides.
#![allow(
    clippy::doc_markdown,
    reason = "these texts are prose, for people who read them on a page"
)]
#![doc = include_str!("../README.md")]

#[doc = include_str!("../docs/framework.md")]
#[doc(hidden)]
pub mod framework {}

#[doc = include_str!("../docs/from-fastapi.md")]
#[doc(hidden)]
pub mod from_fastapi {}

#[doc = include_str!("../docs/hub.md")]
#[doc(hidden)]
pub mod hub {}

#[doc = include_str!("../docs/clients.md")]
#[doc(hidden)]
pub mod clients {}

#[doc = include_str!("../docs/authorization.md")]
#[doc(hidden)]
pub mod authorization {}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    #[test]
    fn all_rust_code_of_the_guides_is_compiled() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let this = include_str!("lib.rs");
        let guides = fs::read_dir(root.join("docs")).unwrap();
        let guides = guides.map(|entry| entry.unwrap().path());
        let texts = guides.chain([root.join("README.md")]);
        for path in texts.filter(|path| path.extension().is_some_and(|end| end == "md")) {
            let text = fs::read_to_string(&path).unwrap();
            let mut blocks = text
                .lines()
                .filter(|line| line.trim().starts_with("```rust"));
            let ignored = blocks.clone().find(|line| line.contains("ignore"));
            assert_eq!(ignored, None, "{}", path.display());
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_included = this.contains(&format!("/{name}\")]"));
            assert!(
                blocks.next().is_none() || is_included,
                "{name} is not in lib.rs"
            );
        }
    }
}
