//! The sections of the comparison, each of which measures its tables, draws its chart, and puts both where they belong.

mod charts;
mod document;
mod machine;
mod memory;
mod throughput;

use std::path::{Path, PathBuf};

use crate::measure::table::Table;
use crate::measure::{self, Plan, count, rounds};
use crate::traffic::process::have;
use document::Document;

/// A part of the comparison that can be asked for by its name.
struct Section {
    name: &'static str,
    /// The bench whose rows these are.
    plan: &'static str,
    /// The row that a smoke run is content with.
    smoke: &'static str,
    /// Whose costs are the chart's unit; no chart without.
    unit: Option<&'static str>,
    title: &'static str,
}

const SECTIONS: [Section; 6] = [
    Section {
        name: "buffers",
        plan: "evbuffer",
        smoke: "PingPong",
        unit: Some("C, warm heap"),
        title: "Buffers: CPU time an operation, C libevent = 1",
    },
    Section {
        name: "loop",
        plan: "event_loop",
        smoke: "EmptyTurn",
        unit: Some("libevent"),
        title: "Loop and timers: CPU time an operation, C libevent = 1",
    },
    Section {
        name: "echo",
        plan: "echo",
        smoke: "50x64",
        unit: Some("libevent"),
        title: "Echo: the server's CPU time a round trip, C libevent = 1",
    },
    Section {
        name: "files",
        plan: "serve",
        smoke: "16KiB",
        unit: Some("C add_file"),
        title: "Static files: CPU time a request, C libevent's evhttp = 1",
    },
    Section {
        name: "relay",
        plan: "relay",
        smoke: "Memory",
        unit: Some("libevent"),
        title: "Relay of 1 GiB: CPU time, C libevent = 1",
    },
    Section { name: "memory", plan: "echo", smoke: "", unit: None, title: "" },
];

/// Where results go: into the repository, or nowhere that lasts.
struct Output {
    document: Document,
    charts: PathBuf,
}

/// What the bench's `main` does when nobody has told it otherwise.
pub(crate) fn run(plans: &[Plan]) {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let unknown = words.iter().find(|word| SECTIONS.iter().all(|section| section.name != *word));
    assert!(unknown.is_none(), "no section is called {unknown:?}");
    let scratch = tempfile::tempdir().expect("a directory");
    let mut output = Output::new(scratch.path());
    output.document.put("machine", &machine::describe());
    for section in
        SECTIONS.iter().filter(|section| words.is_empty() || words.iter().any(|word| word == section.name))
    {
        let plan = plans.iter().find(|plan| plan.name == section.plan).expect("each section has a plan");
        section.measure(plan, &mut output);
        // What was measured is kept, whatever happens to the rest.
        output.document.save();
    }
}

impl Output {
    fn new(scratch: &Path) -> Output {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        let source = docs.join("benchmarks.md");
        let (target, charts) = if measure::is_smoke() {
            (scratch.join("benchmarks.md"), scratch.to_owned())
        } else {
            (source.clone(), docs.join("charts"))
        };
        Output { document: Document::new(source, target), charts }
    }

    fn put(&mut self, name: &str, table: &Table) {
        let block = format!("{}\n\n{}", machine::moment(), table.markdown());
        println!("\n{name}: {block}");
        self.document.put(name, &block);
    }
}

impl Section {
    fn measure(&self, plan: &Plan, output: &mut Output) {
        let only = measure::is_smoke().then_some(self.smoke);
        if self.name == "memory" {
            return output.put(self.name, &memory::table(plan));
        }
        let table = rounds::table(plan, only);
        output.put(self.name, &table);
        if let Some(unit) = self.unit {
            charts::draw(&output.charts.join(format!("{}.svg", self.name)), self.title, &table, unit);
        }
        self.measure_more(plan, only, output);
    }

    /// What else is known of the same rows.
    fn measure_more(&self, plan: &Plan, only: Option<&str>, output: &mut Output) {
        if plan.servers.as_ref().is_some_and(|servers| servers.calls.is_some()) && have("strace") {
            output.put(&format!("{}, system calls", self.name), &count::calls(plan, only));
        }
        if plan.rows.iter().any(|row| row.counter.is_some()) && !measure::is_smoke() && have("valgrind") {
            output.put(&format!("{}, instructions", self.name), &count::instructions(plan, None));
        }
        if self.name == "files" && have("wrk") {
            let [requests, time] = throughput::tables(plan, only);
            output.put("files, requests a second", &requests);
            output.put("files, CPU under wrk", &time);
        }
    }
}
