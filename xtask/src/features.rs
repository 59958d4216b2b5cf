//! `cargo xtask features`: checks each feature of each package alone, and no feature at all.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use crate::shell::{command, root, run};

/// Packages whose tests and examples are checked too, with no feature: these may need a part that
/// isn't built. The tests of other packages are left out to save time.
const WITH_TESTS: [&str; 3] = ["headwater", "headwater-cli", "headwater-hub"];

/// A package with features.
#[derive(Debug, PartialEq, Eq)]
struct Package {
    name: String,
    /// Without `default`.
    features: Vec<String>,
}

impl Package {
    /// Reads a manifest. `None` if it has no features.
    fn read(manifest: &str) -> Option<Self> {
        let table = |header: &str| -> Vec<&str> {
            manifest
                .lines()
                .skip_while(|line| line.trim() != header)
                .skip(1)
                .take_while(|line| !line.starts_with('['))
                .collect()
        };
        let name = table("[package]")
            .into_iter()
            .find_map(|line| line.strip_prefix("name = "))?;
        let features: Vec<_> = table("[features]")
            .into_iter()
            .filter(|line| !line.starts_with([' ', '#']))
            .filter_map(|line| line.split_once(" = "))
            .map(|(feature, _)| feature.to_owned())
            .filter(|feature| feature != "default")
            .collect();
        (!features.is_empty()).then(|| Self {
            name: name.trim_matches('"').to_owned(),
            features,
        })
    }

    /// Checks the package with one feature, or with none, and its tests with none if they are in
    /// [`WITH_TESTS`]. The package is checked without its tests too: what these depend on may hide
    /// that the package lacks a feature of a dependency.
    fn check(&self, feature: Option<&str>) -> Result<(), String> {
        self.clippy(feature, false)?;
        match feature {
            None if WITH_TESTS.contains(&&*self.name) => self.clippy(feature, true),
            _ => Ok(()),
        }
    }

    fn clippy(&self, feature: Option<&str>, with_tests: bool) -> Result<(), String> {
        let mut cargo = command("cargo");
        cargo.args(["clippy", "--locked", "--quiet", "--package", &self.name]);
        cargo.arg("--no-default-features");
        if let Some(feature) = feature {
            cargo.args(["--features", feature]);
        }
        if with_tests {
            cargo.arg("--all-targets");
        }
        let start = Instant::now();
        let outcome = run(cargo.args(["--", "-D", "warnings"]));
        println!("  {:.1} s", start.elapsed().as_secs_f64());
        outcome
    }
}

/// Checks all of them. After one that fails, the rest is still checked.
pub(crate) fn run_all() -> Result<(), String> {
    let start = Instant::now();
    let mut failed = Vec::new();
    for package in packages()? {
        let alone = package.features.iter().map(String::as_str).map(Some);
        for feature in std::iter::once(None).chain(alone) {
            failed.extend(package.check(feature).err());
        }
    }
    println!("<== features: {:.1} s", start.elapsed().as_secs_f64());
    match failed.len() {
        0 => Ok(()),
        _ => Err(failed.join("\n")),
    }
}

/// Returns the packages of `crates` that have features, by their folders' names.
fn packages() -> Result<Vec<Package>, String> {
    let crates = root().join("crates");
    let error = |error| format!("{}: {error}", crates.display());
    let mut manifests: Vec<PathBuf> = fs::read_dir(&crates)
        .map_err(error)?
        .filter_map(|entry| Some(entry.ok()?.path().join("Cargo.toml")))
        .filter(|path| path.is_file())
        .collect();
    manifests.sort();
    let mut packages = Vec::new();
    for path in manifests {
        let text =
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        packages.extend(Package::read(&text));
    }
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_features_of_a_manifest_are_found_without_the_default() {
        let manifest = "[package]\nname = \"a\"\n\n[features]\ndefault = [\"b\"]\n# It is b.\nb = []\nc = [\n    \
                        \"dep:d\",\n]\n\n[dependencies]\nd = { version = \"1\", optional = true }\n";
        let package = Package::read(manifest).expect("it has features");
        assert_eq!(package.name, "a");
        assert_eq!(package.features, ["b", "c"]);
        assert_eq!(Package::read("[package]\nname = \"a\"\n"), None);
    }

    #[test]
    fn the_packages_of_this_repository_are_found() {
        let packages = packages().expect("they can be read");
        let hub = packages
            .iter()
            .find(|package| package.name == "headwater-hub");
        let hub = hub.expect("the hub has features");
        assert!(hub.features.contains(&"relay".to_owned()), "{hub:?}");
    }
}
