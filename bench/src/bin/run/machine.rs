//! Description of the machine and the versions.

use std::{fs, process::Command};

use crate::{hub, options::Options, python};

const LOCK: &str = include_str!("../../../Cargo.lock");
const CRATES: [&str; 11] = [
    "axum",
    "hyper",
    "tokio",
    "serde_json",
    "schemars",
    "jsonschema",
    "reqwest",
    "eventsource-stream",
    "sse-stream",
    "mio",
    "memchr",
];

/// Returns the load of the machine, to be read before the first measurement.
pub(crate) fn load() -> String {
    read("/proc/loadavg")
        .split_whitespace()
        .take(2)
        .collect::<Vec<_>>()
        .join(", ")
}

pub(crate) fn describe(options: &Options) -> Vec<Vec<String>> {
    let row = |what: &str, which: String| vec![what.to_owned(), which];
    let mut rows = vec![
        row("CPU", format!("{}, {} cores", cpu(), cores())),
        row("memory", memory()),
        row("kernel", first_line(&read("/proc/sys/kernel/osrelease"))),
        row("compiler", output(Command::new("rustc").arg("--version"))),
        row(
            "crates",
            CRATES
                .map(|name| format!("{name} {}", locked(name)))
                .join(", "),
        ),
    ];
    if options.parts.iter().any(|part| !part.is_of_hub()) {
        let version = output(python::command().arg("--version"));
        rows.push(row("Python", version));
        rows.push(row("packages", packages()));
    }
    if options.parts.iter().any(|part| part.has_peers_of_hub()) {
        rows.push(row("the hub's peers", hub::versions()));
    }
    rows
}

/// Returns the measured commit, and if the tree has uncommitted changes.
pub(crate) fn commit() -> String {
    let git = |args: &[&str]| {
        output(
            Command::new("git")
                .args(args)
                .current_dir(crate::options::folder()),
        )
    };
    let hash = git(&["rev-parse", "--short", "HEAD"]);
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"]).is_empty();
    if changed {
        format!("{hash} with changes")
    } else {
        hash
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn cpu() -> String {
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned())
}

fn memory() -> String {
    let info = read("/proc/meminfo");
    let kib = info
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<u64>().ok());
    format!("{} GiB", kib.unwrap_or(0).div_ceil(1024 * 1024))
}

/// Returns the version of a crate, the newest if there are several.
fn locked(name: &str) -> String {
    let entry = format!("name = \"{name}\"\nversion = \"");
    let version = LOCK
        .rsplit_once(&entry)
        .and_then(|(_, rest)| rest.split('"').next());
    version.unwrap_or("?").to_owned()
}

fn packages() -> String {
    let wanted = read(
        &crate::options::folder()
            .join("requirements.txt")
            .to_string_lossy(),
    );
    let mut all: Vec<String> = wanted.lines().map(|line| line.replace("==", " ")).collect();
    for name in ["starlette", "pydantic"] {
        let ask = format!("import importlib.metadata as m; print(m.version('{name}'))");
        all.push(format!(
            "{name} {}",
            output(python::command().args(["-c", &ask]))
        ));
    }
    all.join(", ")
}

fn output(command: &mut Command) -> String {
    let text = command
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    first_line(&String::from_utf8_lossy(&text))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
