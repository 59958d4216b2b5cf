//! One of the servers that are measured, on a port that the system chooses.
//!
//! `server KIND [--rate MESSAGES_PER_SECOND]`, with one of the [`KINDS`], prints
//! `listening on ADDRESS` and serves until its standard input ends, so it never outlives the
//! program that started it.

mod axum_peer;
mod bare;
mod headwater_peer;
mod operation;
mod source;

use std::io::Read;

use headwater_bench::{Error, system};

const KINDS: &str = "headwater, axum, bare, bare-ready, operation or operation-plain";

fn main() -> Result<(), Error> {
    system::allow_open_files(16_384)?;
    let mut args = std::env::args().skip(1);
    let kind = args.next().unwrap_or_default();
    let rate = match (args.next().as_deref(), args.next()) {
        (Some("--rate"), Some(rate)) => rate.parse()?,
        _ => 50,
    };
    std::thread::spawn(|| {
        // An error is an end as well.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    match kind.as_str() {
        "headwater" => headwater_peer::run(rate),
        "axum" => axum_peer::run(rate),
        "bare" => bare::run(rate, bare::Kind::Serialised),
        "bare-ready" => bare::run(rate, bare::Kind::Ready),
        "operation" => operation::run(),
        "operation-plain" => operation::run_plain(),
        _ => Err(format!("which server? {KINDS}").into()),
    }
}

fn announce(address: std::net::SocketAddr) {
    println!("listening on {address}");
}
