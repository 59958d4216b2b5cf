//! The cost of checking a message against its schema, compared with parsing it, in process.

use std::hint::black_box;

use headwater::schema::Schema;
use headwater_bench::{
    Error,
    order::{ORDER, Order, StrictOrder},
    system,
};
use serde_json::Value;

use crate::{
    options::Options,
    report::{Bar, Report, Table},
    stats::{median, ratio, spread},
};

struct Row<'a> {
    name: &'static str,
    /// Checks the message once. Returns `true` if the message is valid.
    once: Box<dyn Fn() -> bool + 'a>,
    ns: Vec<f64>,
    /// As a multiple of the first row in the same run.
    share: Vec<f64>,
}

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    let value: Value = serde_json::from_str(ORDER)?;
    let (schema, strict) = (Schema::of::<Order>(), Schema::of::<StrictOrder>());
    let (schema, strict, value) = (&schema, &strict, &value);
    let row = |name, once| Row {
        name,
        once,
        ns: Vec::new(),
        share: Vec::new(),
    };
    let mut rows: [Row<'_>; 6] = [
        row(
            "parse to `serde_json::Value`",
            Box::new(|| serde_json::from_slice::<Value>(black_box(ORDER.as_bytes())).is_ok()),
        ),
        row(
            "parse to the struct",
            Box::new(|| serde_json::from_slice::<Order>(black_box(ORDER.as_bytes())).is_ok()),
        ),
        row(
            "`is_valid`: ranges, lengths, choices",
            Box::new(move || schema.is_valid(black_box(value))),
        ),
        row(
            "`check`: the same, with a list of faults",
            Box::new(move || schema.check(black_box(value)).is_ok()),
        ),
        row(
            "`is_valid`: also two formats and two patterns",
            Box::new(move || strict.is_valid(black_box(value))),
        ),
        row(
            "`check`: the same, with a list of faults",
            Box::new(move || strict.check(black_box(value)).is_ok()),
        ),
    ];
    let passes = options.pick(200_000, 20_000);
    for round in 0..=options.runs {
        let mut parse = 0.0;
        for row in &mut rows {
            let ns = measure(row, passes)?;
            if row.name.contains("Value") {
                parse = ns;
            }
            // The first round is a warm-up.
            if round > 0 {
                row.ns.push(ns);
                row.share.push(ns / parse);
            }
        }
    }
    report.table(Table {
        title: "Checking a message".to_owned(),
        note: format!(
            "A message of {} bytes and eleven fields, in process, by the CPU time of one thread.",
            ORDER.len()
        ),
        head: vec!["what", "ns", "lowest–highest", "of parsing to `Value`"],
        rows: rows
            .iter()
            .map(|row| {
                vec![
                    row.name.to_owned(),
                    format!("{:.0}", median(&row.ns)),
                    spread(&row.ns, |ns| format!("{ns:.0}")),
                    ratio(median(&row.share)),
                ]
            })
            .collect(),
    });
    for (what, row) in [("", &rows[2]), (", with formats and patterns", &rows[4])] {
        report.bar(Bar {
            name: format!("checking a 270-byte message against parsing it{what}"),
            wanted: 0.5,
            got: median(&row.share),
            at_most: true,
            unit: "×",
        });
    }
    Ok(())
}

/// Returns the duration of one pass, in nanoseconds.
#[allow(
    clippy::cast_precision_loss,
    reason = "counts and times far below 2^52"
)]
fn measure(row: &Row<'_>, passes: u32) -> Result<f64, Error> {
    let start = system::own_cpu_ns();
    for _ in 0..passes {
        if !black_box((row.once)()) {
            return Err(format!("{}: the message is said to be wrong", row.name).into());
        }
    }
    Ok((system::own_cpu_ns() - start) as f64 / f64::from(passes))
}
