//! Runs the benchmarks, prints the tables and writes them to `results/`.
//!
//! See `run --help`.

mod clients;
mod decode;
mod drain;
mod gather;
mod hub;
mod idle;
mod machine;
mod operation;
mod options;
mod paced;
mod peer;
mod python;
mod report;
mod stats;
mod validate;

use headwater_bench::{Error, system};

use crate::{
    options::{Options, Part},
    report::Report,
};

const HELP: &str = "\
Usage: cargo xtask bench [options]

  --quick      smaller counts and fewer runs: to see that everything works, not to compare
  --only PARTS some of drain,paced,idle,decode,clients,gather,operation,validate (the framework),
               append,fanout,hub-latency,hub-idle,catchup,scattered,startup,relay,tls,
               bare,sorting,caps,cluster,cluster-streams (the hub)
  --runs N     how often each short measurement is repeated (default 7, quick 3)
  --name NAME  what the results are called, after the date (default full, quick quick)

The tables are printed, and written to bench/results/DATE-NAME.md. Nothing else should run meanwhile.
";

fn main() -> Result<(), Error> {
    if std::env::args()
        .skip(1)
        .any(|arg| arg == "--help" || arg == "-h")
    {
        print!("{HELP}");
        return Ok(());
    }
    let options = Options::parse(std::env::args().skip(1))?;
    system::allow_open_files(16_384)?;
    if options.parts.iter().any(|part| part.needs_python()) {
        python::ensure()?;
    }
    if options.parts.iter().any(|part| part.has_peers_of_hub()) {
        hub::ensure()?;
    }
    let mut report = Report::new(&options);
    for part in &options.parts {
        eprintln!("== {}", part.name());
        match part {
            Part::Drain => drain::run(&options, &mut report)?,
            Part::Paced => paced::run(&options, &mut report)?,
            Part::Idle => idle::run(&options, &mut report)?,
            Part::Decode => decode::run(&options, &mut report)?,
            Part::Clients => clients::run(&options, &mut report)?,
            Part::Gather => gather::run(&options, &mut report)?,
            Part::Append => hub::append::run(&options, &mut report)?,
            Part::Fanout => hub::fanout::run(&options, &mut report)?,
            Part::HubLatency => hub::latency::run(&options, &mut report)?,
            Part::HubIdle => hub::idle::run(&options, &mut report)?,
            Part::Catchup => hub::catchup::run(&options, &mut report)?,
            Part::Scattered => hub::scattered::run(&options, &mut report)?,
            Part::Startup => hub::startup::run(&options, &mut report)?,
            Part::Relay => hub::relay::run(&options, &mut report)?,
            Part::Tls => hub::tls::run(&options, &mut report)?,
            Part::Bare => hub::bare::run(&options, &mut report)?,
            Part::Sorting => hub::sorting::run(&options, &mut report)?,
            Part::Caps => hub::caps::run(&options, &mut report)?,
            Part::Cluster => hub::cluster::run(&options, &mut report)?,
            Part::ClusterStreams => hub::cluster_streams::run(&options, &mut report)?,
            Part::Operation => operation::run(&options, &mut report)?,
            Part::Validate => validate::run(&options, &mut report)?,
        }
    }
    let markdown = report.to_markdown();
    println!("{markdown}");
    let path = options.results_file();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&path, markdown)?;
    eprintln!("written to {}", path.display());
    Ok(())
}
