//! `cargo xtask test`: all tests, step by step. Steps that leave the processors idle run together.

use crate::shell::{FEATURES, command, root, run, run_to_file};
use crate::tools;
use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// Number of processes of pytest. Most of its tests wait for timers, so there may be more of them than processors.
const PYTEST_PROCESSES: &str = "4";

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
        let mut fuzzing = None;
        if plan.has(Step::Rust) {
            let is_built = || {
                let fuzz = |run: Run<'_>| fuzz(plan.fuzz_seconds, run);
                fuzzing = plan
                    .has(Step::Fuzz)
                    .then(|| Beside::start(scope, Step::Fuzz, fuzz));
            };
            all.push(Done::shown(Step::Rust, || rust(&nats, is_built)));
        } else if plan.has(Step::Fuzz) {
            all.push(Done::shown(Step::Fuzz, || fuzz(plan.fuzz_seconds, &run)));
        }
        if plan.has(Step::Doc) {
            all.push(Done::shown(Step::Doc, doc));
        }
        all.extend(fuzzing.map(Beside::end));
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

/// Runs the steps that start programs. Most of the end-to-end tests wait, so the conformance suite runs beside them.
fn with_programs(plan: &Plan, tools: &Tools, nats: &Installed) -> Vec<Done> {
    let (has_e2e, has_suite) = (plan.has(Step::E2e), plan.has(Step::Conformance));
    if !has_e2e && !has_suite {
        return Vec::new();
    }
    let built = &built();
    let suite = |run: Run<'_>| {
        conformance(
            tools.node.as_deref()?,
            built.as_deref()?,
            nats.as_deref()?,
            run,
        )
    };
    if !has_e2e {
        return vec![Done::shown(Step::Conformance, || suite(&run))];
    }
    thread::scope(|scope| {
        println!("\n==> {}", Step::E2e.name());
        let mut beside = has_suite.then(|| Beside::start(scope, Step::Conformance, suite));
        let mut ended = None;
        let is_shared = || ended = beside.take().map(Beside::end);
        let e2e = Done::of(Step::E2e, || e2e(&tools.python, built, is_shared));
        let mut all = vec![e2e.report()];
        all.extend(ended);
        all
    })
}

/// Runs a command.
type Run<'a> = &'a (dyn Fn(&mut Command) -> Result<(), String> + Sync);

/// A step that runs beside another one, with its output in a file.
struct Beside<'scope> {
    step: ScopedJoinHandle<'scope, Done>,
    log: PathBuf,
}

impl<'scope> Beside<'scope> {
    fn start(
        scope: &'scope Scope<'scope, '_>,
        step: Step,
        work: impl FnOnce(Run<'_>) -> Result<(), String> + Send + 'scope,
    ) -> Self {
        let name = format!("headwater-{}-{}.log", step.name(), std::process::id());
        let log = std::env::temp_dir().join(name);
        println!(
            "{} runs beside it, with its output in {}",
            step.name(),
            log.display()
        );
        let file = log.clone();
        let to_file = move |command: &mut Command| run_to_file(command, &file);
        Self {
            step: scope.spawn(move || Done::of(step, || work(&to_file))),
            log,
        }
    }

    /// Waits for the end of the step, and shows its output.
    fn end(self) -> Done {
        let done = self
            .step
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic));
        println!("\n==> {}", done.step.name());
        print!("{}", fs::read_to_string(&self.log).unwrap_or_default());
        // A file in the folder for temporary ones, which may stay.
        let _ = fs::remove_file(&self.log);
        done.report()
    }
}

/// All tests but the fuzz targets, which are a step of their own. Calls `is_built` when all of them can run.
fn rust(nats: &OnceLock<Installed>, is_built: impl FnOnce()) -> Result<(), String> {
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
    is_built();
    let mut tests = tests();
    if has_nextest {
        // About half of the time of these tests is spent waiting.
        let threads = 2 * thread::available_parallelism().map_or(1, usize::from);
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
fn fuzz(seconds: u32, run: Run<'_>) -> Result<(), String> {
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

/// The end-to-end tests. Those that need the machine for themselves run last, after `is_shared` has returned.
fn e2e(python: &Installed, built: &Installed, is_shared: impl FnOnce()) -> Result<(), String> {
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
    is_shared();
    let alone = pytest(&["-m", "alone"]);
    most.and(alone)
}

/// Runs the protocol's own conformance suite against `headwater serve`, once for each engine, and
/// against two hubs on a cluster. Fails unless every test passes.
fn conformance(node: &Path, built: &Path, nats: &Path, run: Run<'_>) -> Result<(), String> {
    let hub = built.join("headwater");
    let suite = || {
        let mut node = command(node);
        node.arg("tests/conformance/run.mjs").arg(&hub);
        node
    };
    let data = std::env::temp_dir().join(format!("headwater-conformance-{}", std::process::id()));
    let own = run(&mut suite()).and(run(suite().arg("--data").arg(&data)));
    let on_cluster = |hubs: &str| run(suite().arg("--nats").arg(nats).args(["--hubs", hubs]));
    let on_cluster = on_cluster("1").and(on_cluster("2"));
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
