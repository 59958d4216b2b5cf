//! One of the servers that are measured, on a port that the system chooses.
//!
//! `server headwater|axum|bare|bare-ready [--rate MESSAGES_PER_SECOND]` prints
//! `listening on ADDRESS` and serves until its standard input ends, so it never outlives the
//! program that started it.

mod axum_peer;
mod bare;
mod headwater_peer;
mod source;

use std::io::Read;

use headwater_bench::{Error, system};

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
        _ => Err("which server? headwater, axum, bare or bare-ready".into()),
    }
}

fn announce(address: std::net::SocketAddr) {
    println!("listening on {address}");
}
