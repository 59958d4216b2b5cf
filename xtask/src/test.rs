//! `cargo xtask test`: all tests, step by step. Steps that leave the processors idle run together.

use crate::shell::{FEATURES, command, root, run, run_to_file};
use crate::tools;
use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// Number of processes of pytest. Most of its tests wait for timers, so there may be more of them than processors.
const PYTEST_PROCESSES: &str = "3";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Rust,
    Doc,
    Fuzz,
    E2e,
    Conformance,
}

impl Step {
    const ALL: [Self; 5] = [
        Self::Rust,
        Self::Doc,
        Self::Fuzz,
        Self::E2e,
        Self::Conformance,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Doc => "doc",
            Self::Fuzz => "fuzz",
            Self::E2e => "e2e",
            Self::Conformance => "conformance",
        }
    }
}

struct Plan {
    steps: Vec<Step>,
    fuzz_seconds: u32,
}

impl Plan {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut plan = Self {
            steps: Vec::new(),
            fuzz_seconds: 10,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--only" => {
                    let name = value()?;
                    let step = Step::ALL.into_iter().find(|step| step.name() == name);
                    plan.steps
                        .push(step.ok_or_else(|| format!("there is no step `{name}`"))?);
                }
                "--fuzz-seconds" => {
                    let seconds = value()?;
                    plan.fuzz_seconds = seconds
                        .parse()
                        .map_err(|_| format!("`{seconds}` is not a number of seconds"))?;
                }
                other => return Err(format!("`{other}` is not an option of `cargo xtask test`")),
            }
        }
        if plan.steps.is_empty() {
            plan.steps = Step::ALL.to_vec();
        }
        Ok(plan)
    }

    fn has(&self, step: Step) -> bool {
        self.steps.contains(&step)
    }
}

/// The outcome of a step, and its duration.
struct Done {
    step: Step,
    took: Duration,
    result: Result<(), String>,
}

impl Done {
    /// Runs a step and measures it.
    fn of(step: Step, work: impl FnOnce() -> Result<(), String>) -> Self {
        let start = Instant::now();
        let result = work();
        Self {
            step,
            took: start.elapsed(),
            result,
        }
    }

    /// Runs a step, and prints its name and its outcome.
    fn shown(step: Step, work: impl FnOnce() -> Result<(), String>) -> Self {
        println!("\n==> {}", step.name());
        Self::of(step, work).report()
    }

    /// Prints the outcome.
    fn report(self) -> Self {
        if let Err(message) = &self.result {
            eprintln!("xtask: {message}");
        }
        println!("<== {}: {:.1} s", self.step.name(), self.took.as_secs_f64());
        self
    }
}

/// Runs the steps that `args` name, or all of them. After a failed step the next ones still run.
pub(crate) fn run_all(args: &[String]) -> Result<(), String> {
    let plan = Plan::parse(args)?;
    let nats = OnceLock::new();
    let all = thread::scope(|scope| {
        // Downloads leave the processors to the first build.
        let tools = scope.spawn(|| Tools::install(&plan, &nats));
        let mut all: Vec<Done> = Vec::new();
        if plan.has(Step::Rust) {
            all.push(Done::shown(Step::Rust, || rust(&nats)));
        }
        if plan.has(Step::Doc) {
            all.push(Done::shown(Step::Doc, doc));
        }
        let tools = tools.join().unwrap_or_else(|panic| resume_unwind(panic));
        all.extend(with_programs(&plan, &tools, nats.wait()));
        all
    });

    println!("\ncargo xtask test:");
    for Done { step, took, result } in &all {
        let outcome = match result {
            Ok(()) => "ok",
            Err(message) => message,
        };
        println!(
            "  {:<11} {:>7.1} s  {outcome}",
            step.name(),
            took.as_secs_f64()
        );
    }
    match all.iter().filter(|done| done.result.is_err()).count() {
        0 => Ok(()),
        failed => Err(format!("{failed} of {} steps failed", all.len())),
    }
}

/// A program, or the reason for which it isn't there.
type Installed = Result<PathBuf, String>;

/// The programs that the steps need besides Rust. A step that isn't part of the run needs none.
struct Tools {
    python: Installed,
    node: Installed,
}

impl Tools {
    /// Installs what the steps need. `nats` is the NATS server, and the first, as the step `rust` waits for it.
    fn install(plan: &Plan, nats: &OnceLock<Installed>) -> Self {
        let no_step = || Err("no step needs it".to_owned());
        // One after the other: all may install Debian's packages, which locks.
        nats.get_or_init(
            || match plan.has(Step::Rust) || plan.has(Step::Conformance) {
                true => tools::ensure_nats_server(),
                false => no_step(),
            },
        );
        Self {
            python: match plan.has(Step::E2e) {
                true => tools::ensure_e2e(),
                false => no_step(),
            },
            node: match plan.has(Step::Conformance) {
                true => tools::ensure_conformance(),
                false => no_step(),
            },
        }
    }
}

/// Runs the steps that start programs, and the fuzz targets. These run beside the end-to-end tests, most of
/// which wait, and their output is shown afterwards.
fn with_programs(plan: &Plan, tools: &Tools, nats: &Installed) -> Vec<Done> {
    let has_e2e = plan.has(Step::E2e);
    let built = match has_e2e || plan.has(Step::Conformance) {
        true => built(),
        false => Err("no step needs it".to_owned()),
    };
    let built = &built;
    let seconds = plan.fuzz_seconds;
    let mut all = Vec::new();
    if plan.has(Step::Conformance) {
        // By itself: its tests have limits of time.
        all.push(Done::shown(Step::Conformance, || {
            conformance(tools.node.as_deref()?, built.as_deref()?, nats.as_deref()?)
        }));
    }
    if !has_e2e {
        if plan.has(Step::Fuzz) {
            all.push(Done::shown(Step::Fuzz, || fuzz(seconds, run)));
        }
        return all;
    }

    println!("\n==> e2e");
    let log = std::env::temp_dir().join(format!("headwater-fuzz-{}.log", std::process::id()));
    thread::scope(|scope| {
        let mut beside = plan.has(Step::Fuzz).then(|| {
            println!("fuzz runs beside it, with its output in {}", log.display());
            let to_log = |command: &mut Command| run_to_file(command, &log);
            scope.spawn(move || Done::of(Step::Fuzz, || fuzz(seconds, to_log)))
        });
        let mut fuzzed = None;
        let e2e = Done::of(Step::E2e, || {
            let fuzz_ends = || fuzzed = beside.take().map(|beside| finished(beside, &log));
            e2e(&tools.python, built, fuzz_ends)
        });
        all.push(e2e.report());
        all.extend(fuzzed);
    });
    all
}

/// Waits for the end of the fuzz targets, and shows their output.
fn finished(fuzz: ScopedJoinHandle<'_, Done>, log: &Path) -> Done {
    let done = fuzz.join().unwrap_or_else(|panic| resume_unwind(panic));
    println!("\n==> {}", done.step.name());
    print!("{}", fs::read_to_string(log).unwrap_or_default());
    // A file in the folder for temporary ones, which may stay.
    let _ = fs::remove_file(log);
    done.report()
}

/// All tests but the fuzz targets, which are a step of their own.
fn rust(nats: &OnceLock<Installed>) -> Result<(), String> {
    let has_nextest = tools::ensure_nextest();
    let tests = || {
        let mut tests = command("cargo");
        if has_nextest {
            tests.args(["nextest", "run", "--workspace"]).args(FEATURES);
        } else {
            tests.args(["test", "--workspace"]).args(FEATURES);
            tests.args(["--lib", "--bins", "--tests", "--examples"]);
        }
        tests
    };
    run(tests().arg("--no-run"))?;
    let mut tests = tests();
    if has_nextest {
        // Nearly half of the time of these tests is spent waiting.
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let threads = processors + processors.div_ceil(2);
        tests.args(["--test-threads", &threads.to_string()]);
        tests.args(["-E", "not package(headwater-fuzz)"]);
    }
    match nats.wait() {
        Ok(server) => tests.env("HEADWATER_NATS_SERVER", server),
        Err(reason) => {
            eprintln!("xtask: the tests that need a NATS server are skipped: {reason}");
            &mut tests
        }
    };
    run(&mut tests)
}

fn doc() -> Result<(), String> {
    run(command("cargo")
        .args(["test", "--workspace", "--doc"])
        .args(FEATURES))
}

/// The bodies of the fuzz targets, in the build of the step `rust`. They need only processor time, so they leave it to
/// any other step.
fn fuzz(seconds: u32, run: impl Fn(&mut Command) -> Result<(), String>) -> Result<(), String> {
    let mut nice = command("nice");
    nice.args(["-n", "19", "cargo"]);
    if tools::ensure_nextest() {
        nice.args(["nextest", "run", "--workspace"]).args(FEATURES);
        nice.args(["-E", "package(headwater-fuzz)"]);
    } else {
        nice.args(["test", "--workspace", "--test", "targets"]);
        nice.args(FEATURES);
    }
    run(nice.env("HEADWATER_FUZZ_SECONDS", seconds.to_string()))
}

/// The end-to-end tests. Those that need the machine for themselves run last, after `fuzz_ends` has
/// returned.
fn e2e(python: &Installed, built: &Installed, fuzz_ends: impl FnOnce()) -> Result<(), String> {
    let pytest = |args: &[&str]| {
        let built = built.as_deref()?;
        let example = |name: &str| built.join("examples").join(name);
        run(command(python.as_deref()?)
            .args(["-m", "pytest", "tests/e2e"])
            .args(args)
            .env("HEADWATER_TOUR", example("tour"))
            .env("HEADWATER_TOUR_CLIENT", example("tour_client"))
            .env(
                "HEADWATER_TOUR_CLIENT_BLOCKING",
                example("tour_client_blocking"),
            )
            .env("HEADWATER_LLM_CHAT", example("llm_chat"))
            .env("HEADWATER_PRICE_COMPARE", example("price_compare"))
            .env("HEADWATER_CLI", built.join("headwater"))
            .env("HEADWATER_HUB", built.join("hub-server"))
            .env("HYPOTHESIS_STORAGE_DIRECTORY", built.join("../hypothesis"))
            .env("HEADWATER_SCREENSHOTS", built.join("../screenshots")))
    };
    let processes = ["-n", PYTEST_PROCESSES, "--dist", "worksteal"];
    let most = pytest(&[&processes[..], &["-m", "not alone"]].concat());
    fuzz_ends();
    let alone = pytest(&["-m", "alone"]);
    most.and(alone)
}

/// Runs the protocol's own conformance suite against `headwater serve`, once for each engine, and
/// against two hubs on a cluster. Fails unless every test passes.
///
/// The suite waits most of the time, so that on the cluster runs beside the others. Its output follows.
fn conformance(node: &Path, built: &Path, nats: &Path) -> Result<(), String> {
    let hub = built.join("headwater");
    let suite = || {
        let mut node = command(node);
        node.arg("tests/conformance/run.mjs").arg(&hub);
        node
    };
    let data = std::env::temp_dir().join(format!("headwater-conformance-{}", std::process::id()));
    let log = data.with_extension("log");
    let on_cluster = |hubs: &str| {
        let mut suite = suite();
        suite.arg("--nats").arg(nats).args(["--hubs", hubs]);
        run_to_file(&mut suite, &log)
    };
    let (own, on_cluster) = thread::scope(|scope| {
        let beside = scope.spawn(|| on_cluster("1").and(on_cluster("2")));
        let own = run(&mut suite()).and(run(suite().arg("--data").arg(&data)));
        (
            own,
            beside.join().unwrap_or_else(|panic| resume_unwind(panic)),
        )
    });
    println!("on a cluster, with one hub and with two:");
    print!("{}", fs::read_to_string(&log).unwrap_or_default());
    // A file in the folder for temporary ones, which may stay.
    let _ = fs::remove_file(&log);
    fs::remove_dir_all(&data)
        .map_err(|error| format!("{} cannot be removed: {error}", data.display()))?;
    own.and(on_cluster)
}

/// Builds the programs that the tests start, and returns their folder.
fn built() -> Result<PathBuf, String> {
    // The whole workspace, as in the step `rust`, so that the features are the same and nothing is
    // built twice.
    run(command("cargo")
        .args(["build", "--quiet", "--workspace", "--bins", "--examples"])
        .args(FEATURES))?;
    let target = root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or("target".into()));
    Ok(target.join("debug"))
}

#[cfg(test)]
mod tests {
    use super::{Plan, Step};

    fn plan(args: &[&str]) -> Result<Plan, String> {
        Plan::parse(&args.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn every_step_runs_unless_some_are_named() {
        assert!(plan(&[]).is_ok_and(|plan| plan.steps == Step::ALL));
        let named = plan(&["--only", "doc", "--only", "e2e"]);
        assert!(named.is_ok_and(|plan| plan.steps == [Step::Doc, Step::E2e]));
    }

    #[test]
    fn an_unknown_argument_is_named_in_the_error() {
        for args in [
            &["--only", "nothing"][..],
            &["--only"],
            &["--fuzz-seconds", "x"],
            &["--all"],
        ] {
            let error = plan(args).err().unwrap_or_default();
            assert!(error.contains(args[args.len() - 1]), "{args:?}: {error}");
        }
    }
}
