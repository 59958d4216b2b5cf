use clap::Parser as _;

use super::*;
use crate::args::{Args, Command};

/// A data folder, removed on drop.
struct Data(PathBuf);

impl Data {
    fn new(name: &str) -> Self {
        let name = format!("headwater-{}-auth-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Combines the command line and the section of the file.
fn lay(args: &[&str], file: &str, data: &Path) -> Result<Option<Required>, String> {
    let args = [&["headwater", "serve"], args].concat();
    let Command::Serve(args) = Args::parse_from(args).command else {
        panic!("it is serve")
    };
    let context = Context {
        data,
        root: "/streams",
        public_url: None,
    };
    let laid = args.auth.lay(toml::from_str(file).unwrap(), &context);
    laid.map_err(|failure| format!("{failure:?}"))
}

#[test]
fn the_key_file_is_the_named_one_or_the_one_in_the_data_folder() {
    let data = Data::new("default");
    let keys = |args: &[&str], file| {
        let required = lay(args, file, &data.0).unwrap();
        required.and_then(|required| required.keys)
    };
    assert_eq!(keys(&[], ""), None);
    let file = "keys = \"f\"";
    assert_eq!(keys(&[], file), Some("f".into()));
    assert_eq!(keys(&["--keys", "a"], file), Some("a".into()));
    let inside = data.0.join("keys.json");
    std::fs::write(&inside, "{\"version\":1,\"keys\":[]}").unwrap();
    assert_eq!(keys(&[], ""), Some(inside.clone()));
    assert_eq!(keys(&["--keys", "a"], ""), Some("a".into()));
    assert!(lay(&[], "", Path::new("memory")).unwrap().is_none());

    std::fs::remove_file(&inside).unwrap();
    std::os::unix::fs::symlink("missing", &inside).unwrap();
    assert_eq!(keys(&[], ""), Some(inside));
}

#[test]
fn requests_without_credentials_may_do_what_the_command_line_or_else_the_file_allows() {
    let shown = |args: &[&str], file| {
        let required = lay(args, file, Path::new("memory")).unwrap().unwrap();
        required.to_string()
    };
    let file = "keys = \"f\"\nanonymous = [\"read:a/**,b\", \"list:**\"]";
    assert_eq!(
        shown(&[], file),
        "requires a key; without one: read:a/**,b list:**"
    );
    let args = ["--anonymous", "read:c", "--jwt-secret-file", "s"];
    assert_eq!(
        shown(&args, file),
        "requires a key or a token; without one: read:c"
    );
    assert_eq!(shown(&["--jwks", "s"], ""), "requires a token");
}

#[test]
fn grants_without_keys_or_tokens_and_invalid_ones_are_errors() {
    for (args, file, part) in [
        (&["--anonymous", "read:a"] as &[&str], "", "requires none"),
        (&[], "anonymous = [\"read:a\"]", "requires none"),
        (&["--keys", "f"], "anonymous = [\"fly:a\"]", "not an action"),
        (&["--keys", "f"], "anonymous = [\"read\"]", "patterns"),
    ] {
        let error = lay(args, file, Path::new("memory")).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_key_file_or_a_secret_that_cannot_be_used_prevents_the_start() {
    let data = Data::new("load");
    let path = |name: &str, content: &str| {
        let path = data.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let load = |args: &[&str]| {
        let required = lay(args, "", Path::new("memory")).unwrap().unwrap();
        required.load().map_err(|failure| format!("{failure:?}"))
    };
    let (short, long) = ("s".repeat(31), "s".repeat(32));
    assert!(load(&["--jwt-secret-file", &path("long", &format!("{long}\n"))]).is_ok());
    assert!(load(&["--keys", "missing"]).is_ok());
    for (option, content, part) in [
        ("--jwt-secret-file", &*format!("{short}\n"), "at least 32"),
        ("--jwt-public-key", "no PEM", "PEM"),
        ("--jwks", "{\"keys\":[]}", "no key"),
        ("--jwks", "{", "file: "),
        ("--keys", "{", "file: "),
    ] {
        let error = load(&[option, &path("file", content)]).unwrap_err();
        assert!(error.contains(part), "{option}: {error}");
    }
    let error = load(&["--jwks", "missing"]).unwrap_err();
    assert!(error.contains("missing: "), "{error}");
}
