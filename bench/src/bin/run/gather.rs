//! Many concurrent calls: their duration compared with the theoretical minimum, their CPU time and
//! their memory.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use headwater_bench::{Error, system};

use crate::{
    options::{Options, folder},
    peer::{Peer, Server, sibling},
    python,
    report::{Bar, Report, Table},
    stats::{median, ratio, spread},
};

/// Number of concurrent calls.
const CONCURRENCY: u64 = 200;
/// Delay of the endpoint, in milliseconds.
const DELAY: u64 = 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Headwater,
    Blocking,
    CommandLine,
    Reqwest,
    Aiohttp,
    Httpx,
}

const WAYS: [Way; 6] = [
    Way::Headwater,
    Way::Blocking,
    Way::CommandLine,
    Way::Reqwest,
    Way::Aiohttp,
    Way::Httpx,
];

/// The cost of one run.
#[derive(Clone, Copy)]
struct Cost {
    seconds: f64,
    cpu_seconds: f64,
    peak_mib: f64,
}

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    let command_line = build()?;
    let server = Peer::Slow.start(1)?;
    let count = options.pick(10_000, 2_000);
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); WAYS.len()];
    for round in 0..=options.runs {
        for (way, costs) in WAYS.iter().zip(&mut costs) {
            let cost = way.measure(&server, &command_line, DELAY, count)?;
            // The first round is a warm-up.
            if round > 0 {
                costs.push(cost);
            }
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "some thousands")]
    let ideal = (count * DELAY) as f64 / CONCURRENCY as f64 / 1000.0;
    let costs: Vec<_> = costs.iter().map(|costs| Summary::of(costs)).collect();
    let rows = WAYS.iter().zip(&costs).map(|(way, cost)| {
        vec![
            way.name().to_owned(),
            format!("{:.2} s", cost.seconds),
            cost.spread.clone(),
            ratio(cost.seconds / ideal),
            format!("{:.2} s", cost.cpu_seconds),
            ratio(cost.cpu_seconds / costs[0].cpu_seconds),
            format!("{:.1} MiB", cost.peak_mib),
        ]
    });
    report.table(Table {
        title: format!("Gather: {count} calls, {CONCURRENCY} at a time"),
        note: format!(
            "To a local endpoint that answers after {DELAY} ms with 93 bytes of JSON, which are parsed. \
             Ideal: {ideal} s. CPU time and memory are the client's."
        ),
        head: vec![
            "client",
            "time",
            "lowest–highest",
            "of the ideal",
            "CPU",
            "CPU, of Headwater's",
            "peak memory",
        ],
        rows: rows.collect(),
    });
    bars(report, &costs, ideal);
    flat(options, report, &server, &command_line)
}

fn bars(report: &mut Report, costs: &[Summary], ideal: f64) {
    report.bar(Bar {
        name: "gather: time, of the ideal".to_owned(),
        wanted: 1.15,
        got: costs[0].seconds / ideal,
        at_most: true,
        unit: "×",
    });
    let aiohttp = WAYS.iter().position(|way| *way == Way::Aiohttp);
    if let Some(aiohttp) = aiohttp {
        report.bar(Bar {
            name: "gather: CPU time of aiohttp, of Headwater's".to_owned(),
            wanted: 5.0,
            got: costs[aiohttp].cpu_seconds / costs[0].cpu_seconds,
            at_most: false,
            unit: "×",
        });
    }
}

/// Measures if a hundred times as many calls need more memory.
fn flat(
    options: &Options,
    report: &mut Report,
    server: &Server,
    command_line: &PathBuf,
) -> Result<(), Error> {
    let counts = [10_000, options.pick(1_000_000, 100_000)];
    let mut rows = Vec::new();
    for way in [Way::Headwater, Way::CommandLine] {
        let few = way.measure(server, command_line, 0, counts[0])?.peak_mib;
        let many = way.measure(server, command_line, 0, counts[1])?.peak_mib;
        rows.push(vec![
            way.name().to_owned(),
            format!("{few:.1} MiB"),
            format!("{many:.1} MiB"),
            ratio(many / few),
        ]);
        report.bar(Bar {
            name: format!(
                "gather: memory for {} calls, of that for {}: {}",
                counts[1],
                counts[0],
                way.name()
            ),
            wanted: 1.1,
            got: many / few,
            at_most: true,
            unit: "×",
        });
    }
    report.table(Table {
        title: "Gather: peak memory".to_owned(),
        note: "To the same endpoint, which answers at once.".to_owned(),
        head: vec![
            "client",
            "10,000 calls",
            options.pick("1,000,000 calls", "100,000 calls"),
            "growth",
        ],
        rows,
    });
    Ok(())
}

/// Medians of the runs.
struct Summary {
    seconds: f64,
    spread: String,
    cpu_seconds: f64,
    peak_mib: f64,
}

impl Summary {
    fn of(costs: &[Cost]) -> Self {
        let all = |figure: fn(&Cost) -> f64| costs.iter().map(figure).collect::<Vec<_>>();
        let seconds = all(|cost| cost.seconds);
        Self {
            seconds: median(&seconds),
            spread: spread(&seconds, |time| format!("{time:.2}")),
            cpu_seconds: median(&all(|cost| cost.cpu_seconds)),
            peak_mib: median(&all(|cost| cost.peak_mib)),
        }
    }
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Headwater => "Headwater, async",
            Self::Blocking => "Headwater, blocking",
            Self::CommandLine => "`headwater gather`",
            Self::Reqwest => "reqwest + buffer_unordered",
            Self::Aiohttp => "Python, aiohttp",
            Self::Httpx => "Python, httpx",
        }
    }

    fn measure(
        self,
        server: &Server,
        command_line: &PathBuf,
        delay: u64,
        count: u64,
    ) -> Result<Cost, Error> {
        let url = format!("http://{}/{delay}", server.address());
        let (mut command, kind) = match self {
            Self::CommandLine => return measure_command_line(command_line, &url, count),
            Self::Headwater => (sibling("gatherer")?, "headwater"),
            Self::Blocking => (sibling("gatherer")?, "headwater-blocking"),
            Self::Reqwest => (sibling("gatherer")?, "reqwest"),
            Self::Aiohttp => (in_python(), "aiohttp"),
            Self::Httpx => (in_python(), "httpx"),
        };
        let args = [kind, &url, &count.to_string(), &CONCURRENCY.to_string()];
        let output = command.args(args).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("{}: {said}", self.name()).into());
        }
        let said = String::from_utf8(output.stdout)?;
        let figures: Vec<f64> = said
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let [nanoseconds, cpu, peak] = figures[..] else {
            return Err(format!("{} said {said:?}", self.name()).into());
        };
        Ok(Cost {
            seconds: nanoseconds / 1e9,
            cpu_seconds: cpu / 1e9,
            peak_mib: peak / MIB,
        })
    }
}

const MIB: f64 = 1024.0 * 1024.0;

fn in_python() -> Command {
    let mut command = python::command();
    command.arg(folder().join("peers/gather.py"));
    command
}

/// Builds the command-line program of the measured workspace.
fn build() -> Result<PathBuf, Error> {
    let target = folder().join("target/command-line");
    let status = Command::new("cargo")
        .args([
            "build",
            "--quiet",
            "--profile",
            "dist",
            "-p",
            "headwater-cli",
            "--target-dir",
        ])
        .arg(&target)
        .arg("--manifest-path")
        .arg(folder().join("../Cargo.toml"))
        .status()?;
    if !status.success() {
        return Err("the command line can't be built".into());
    }
    Ok(target.join("dist/headwater"))
}

/// Measures the whole process from its start to its end. Its results go to a file.
fn measure_command_line(program: &PathBuf, url: &str, count: u64) -> Result<Cost, Error> {
    let data = folder().join(".data");
    fs::create_dir_all(&data)?;
    let (calls, results) = (data.join("calls.txt"), data.join("results.ndjson"));
    let mut lines = std::io::BufWriter::new(fs::File::create(&calls)?);
    for n in 0..count {
        writeln!(lines, "{url}/{n}")?;
    }
    lines.flush()?;
    let concurrency = CONCURRENCY.to_string();
    let start = Instant::now();
    let mut child = Command::new(program)
        .args([
            "gather",
            "--quiet",
            "-c",
            &concurrency,
            "--per-host",
            &concurrency,
        ])
        .arg(&calls)
        .arg("--output")
        .arg(&results)
        .stdin(Stdio::null())
        .spawn()?;
    let (seconds, cpu, peak) = watch(&mut child, start)?;
    let status = child.wait()?;
    let made = fs::read_to_string(&results)?.lines().count() as u64;
    fs::remove_dir_all(&data)?;
    if !status.success() || made != count {
        return Err(format!("headwater gather: {status}, {made} results of {count}").into());
    }
    Ok(Cost {
        seconds,
        cpu_seconds: cpu,
        peak_mib: peak,
    })
}

/// Waits until the process has ended, without reaping it. Returns the duration in seconds, the CPU
/// time in seconds, and the peak memory in MiB, as of at most 5 ms before the end.
#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn watch(child: &mut Child, start: Instant) -> Result<(f64, f64, f64), Error> {
    let mut peak = 0;
    loop {
        // A process that has ended has no memory, but exists until it is reaped.
        match system::peak_bytes(child.id()) {
            Ok(bytes) => peak = bytes,
            Err(_) => break,
        }
        thread::sleep(Duration::from_millis(5));
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok((
        seconds,
        system::cpu_ns(child.id())? as f64 / 1e9,
        peak as f64 / MIB,
    ))
}
