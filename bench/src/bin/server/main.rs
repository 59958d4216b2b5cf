//! One of the measured servers, on a port that the system selects.
//!
//! `server KIND [--rate MESSAGES_PER_SECOND]`, with one of the [`KINDS`], prints
//! `listening on ADDRESS` and serves until its standard input ends, so that it never outlives the program that
//! started it.
//!
//! The hub accepts `--data FOLDER|memory|nats://HOST,HOST [--listen ADDRESS] [--upstream PATTERN]
//! [--tls-listen ADDRESS --tls-folder FOLDER] [--snapshots true|false]`, and also ends at SIGTERM. `sendfile`
//! sends the file `--data FILE`.

mod axum_peer;
mod bare;
mod headwater_peer;
mod hub;
mod operation;
mod sendfile;
mod slow;
mod source;

use std::io::Read;

use headwater_bench::{Error, system};

const KINDS: &str =
    "headwater, hub, axum, bare, bare-ready, operation, operation-plain, sendfile or slow";

/// The allocator of the `headwater` binary.
#[global_allocator]
static ALLOCATOR: headwater_alloc::Allocator = headwater_alloc::Allocator;

fn main() -> Result<(), Error> {
    system::allow_open_files(16_384)?;
    let mut args = std::env::args().skip(1);
    let kind = args.next().unwrap_or_default();
    let (mut rate, mut data, mut listen) = (50, None, "127.0.0.1:0".to_owned());
    let (mut upstreams, mut tls_listen, mut tls_folder) = (Vec::new(), None, None);
    let mut snapshots = None;
    while let (Some(option), Some(value)) = (args.next(), args.next()) {
        match option.as_str() {
            "--rate" => rate = value.parse()?,
            "--data" => data = Some(value),
            "--listen" => listen = value,
            "--upstream" => upstreams.push(value),
            "--tls-listen" => tls_listen = Some(value),
            "--tls-folder" => tls_folder = Some(value),
            "--snapshots" => snapshots = Some(value.parse()?),
            _ => return Err(format!("`{option}` is not an option").into()),
        }
    }
    std::thread::spawn(|| {
        // An error also ends the server.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    match kind.as_str() {
        "headwater" => headwater_peer::run(rate),
        "axum" => axum_peer::run(rate),
        "hub" => hub::run(
            data.ok_or("the hub needs --data")?.as_ref(),
            &listen,
            tls_listen.as_deref().zip(tls_folder.as_deref()),
            &upstreams,
            snapshots,
        ),
        "bare" => bare::run(rate, bare::Kind::Serialised),
        "bare-ready" => bare::run(rate, bare::Kind::Ready),
        "operation" => operation::run(),
        "sendfile" => sendfile::run(data.ok_or("sendfile needs --data")?.as_ref()),
        "slow" => slow::run(),
        "operation-plain" => operation::run_plain(),
        _ => Err(format!("which server? {KINDS}").into()),
    }
}

fn announce(address: std::net::SocketAddr) {
    println!("listening on {address}");
}
