//! One of the servers that are measured, on a port that the system chooses.
//!
//! `server headwater|axum|bare|bare-ready [--rate MESSAGES_PER_SECOND]` and
//! `server hub --data FOLDER [--listen ADDRESS]`
//! print `listening on ADDRESS` and serve until their standard input ends, so they never outlive the
//! program that started them. The hub ends at SIGTERM as well.

mod axum_peer;
mod bare;
mod headwater_peer;
mod hub;
mod source;

use std::io::Read;

use headwater_bench::{Error, system};

fn main() -> Result<(), Error> {
    system::allow_open_files(16_384)?;
    let mut args = std::env::args().skip(1);
    let kind = args.next().unwrap_or_default();
    let (mut rate, mut data, mut listen) = (50, None, "127.0.0.1:0".to_owned());
    while let (Some(option), Some(value)) = (args.next(), args.next()) {
        match option.as_str() {
            "--rate" => rate = value.parse()?,
            "--data" => data = Some(value),
            "--listen" => listen = value,
            _ => return Err(format!("`{option}` is not an option").into()),
        }
    }
    std::thread::spawn(|| {
        // An error is an end as well.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    match kind.as_str() {
        "headwater" => headwater_peer::run(rate),
        "axum" => axum_peer::run(rate),
        "hub" => hub::run(data.ok_or("the hub needs --data")?.as_ref(), &listen),
        "bare" => bare::run(rate, bare::Kind::Serialised),
        "bare-ready" => bare::run(rate, bare::Kind::Ready),
        _ => Err("which server? headwater, hub, axum, bare or bare-ready".into()),
    }
}

fn announce(address: std::net::SocketAddr) {
    println!("listening on {address}");
}
