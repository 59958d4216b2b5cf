//! The report: tables, bars, and a description of the machine.

use std::fmt::Write as _;

use crate::{
    machine,
    options::{Options, today},
};

/// One table with its introduction.
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) note: String,
    pub(crate) head: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// A target that the project set itself.
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) wanted: f64,
    pub(crate) got: f64,
    /// If `true`, `got` should be at most `wanted`; otherwise at least.
    pub(crate) at_most: bool,
    pub(crate) unit: &'static str,
}

pub(crate) struct Report {
    command: String,
    runs: usize,
    tables: Vec<Table>,
    bars: Vec<Bar>,
    machine: Vec<Vec<String>>,
}

impl Report {
    pub(crate) fn new(options: &Options) -> Self {
        let what = "load before the first run, over 1 and 5 minutes".to_owned();
        let load = machine::load();
        let mut machine = machine::describe(options);
        machine.push(vec![what, load]);
        Self {
            command: format!("cargo xtask bench {}", options.given.join(" "))
                .trim_end()
                .to_owned(),
            machine,
            runs: options.runs,
            tables: Vec::new(),
            bars: Vec::new(),
        }
    }

    pub(crate) fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    pub(crate) fn bar(&mut self, bar: Bar) {
        self.bars.push(bar);
    }

    pub(crate) fn to_markdown(&self) -> String {
        let mut out = format!("# Benchmarks, {}\n\n", today());
        let _ = writeln!(out, "`{}` at commit {}.", self.command, machine::commit());
        let _ = writeln!(
            out,
            "Medians of {} runs where no other number is named; the servers take turns within each \
             run. `bench/README.md` says what is measured and how.\n",
            self.runs
        );
        if !self.bars.is_empty() {
            out.push_str("## Bars\n\n");
            let rows = self.bars.iter().map(Bar::row).collect();
            write_rows(&mut out, &["bar", "wanted", "measured", "met"], rows);
        }
        for table in &self.tables {
            let _ = writeln!(out, "## {}\n\n{}\n", table.title, table.note);
            write_rows(&mut out, &table.head, table.rows.clone());
        }
        out.push_str("## Machine and versions\n\n");
        write_rows(&mut out, &["what", "which"], self.machine.clone());
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    }
}

impl Bar {
    fn row(&self) -> Vec<String> {
        let (sign, met) = if self.at_most {
            ("≤", self.got <= self.wanted)
        } else {
            ("≥", self.got >= self.wanted)
        };
        let verdict = if met {
            "yes".to_owned()
        } else if self.at_most {
            format!("no: {:.0} % over", (self.got / self.wanted - 1.0) * 100.0)
        } else {
            format!("no: {:.0} % under", (1.0 - self.got / self.wanted) * 100.0)
        };
        let write = |figure: f64| match figure {
            100.0.. => format!("{figure:.0}{}", self.unit),
            10.0.. => format!("{figure:.1}{}", self.unit),
            _ => format!("{figure:.2}{}", self.unit),
        };
        let wanted = format!("{sign} {}{}", self.wanted, self.unit);
        vec![self.name.clone(), wanted, write(self.got), verdict]
    }
}

fn write_rows(out: &mut String, head: &[&str], rows: Vec<Vec<String>>) {
    let _ = writeln!(out, "| {} |", head.join(" | "));
    let _ = writeln!(out, "|{}", "---|".repeat(head.len()));
    for row in rows {
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    out.push('\n');
}
