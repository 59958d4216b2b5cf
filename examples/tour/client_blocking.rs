//! Reads typed items as they arrive. `cargo run --example tour_client_blocking [URL]`
#![expect(clippy::print_stdout, reason = "to print is what it is for")]

use clap::Parser;

/// Print the ticks of the tour as they arrive.
#[derive(Parser)]
struct Args {
    /// URL of the ticks
    #[arg(default_value = "http://127.0.0.1:8000/ticks?count=10&every_ms=200")]
    url: String,
}

#[derive(Debug, serde::Deserialize)]
struct Tick {
    n: u64,
    symbol: String,
    price: f64,
}

fn main() -> Result<(), headwater_client::Error> {
    let Args { url } = Args::parse();
    for tick in headwater_client::blocking::get(url).stream::<Tick>()? {
        let Tick { n, symbol, price } = tick?;
        println!("{n:>4} {symbol} {price:.2}");
    }
    Ok(())
}
