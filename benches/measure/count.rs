//! What can be counted, so that it does not depend on what else the machine does: instructions an operation by callgrind, and
//! system calls an operation by strace.

use std::process::Command;

use super::table::{Line, Table, Verdict, hundredths, whole};
use super::{Counter, Plan, number};

/// Counts those of 2N operations without those of N, done by a process of this program with whatever that starts.
pub(crate) const INSTRUCTIONS_EACH: Counter = instructions_each;

/// The instructions of an operation, for each row that says how to count them.
pub(crate) fn instructions(plan: &Plan, only: Option<&str>) -> Table {
    let names = plan.subjects();
    let counted = plan.chosen_rows(only).filter_map(|(index, row)| Some((index, row, row.counter?)));
    let lines = counted.map(|(index, row, counter)| {
        let figures: Vec<_> = names.iter().map(|subject| counter(plan, index, subject)).collect();
        eprintln!("{}: {} has been counted", plan.name, row.text);
        Line::of_counts(row, &names, figures)
    });
    Table { first: "operation", lines: lines.collect(), names, show: whole }
}

fn instructions_each(plan: &Plan, row: usize, subject: &str) -> Option<f64> {
    const COUNT: u64 = 20_000;
    let once = instructions_of(plan, row, subject, COUNT)?;
    let twice = instructions_of(plan, row, subject, 2 * COUNT)?;
    Some(twice.saturating_sub(once) as f64 / COUNT as f64)
}

fn instructions_of(plan: &Plan, row: usize, subject: &str, count: u64) -> Option<u64> {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new("valgrind");
    // A C program is a process of its own, which ends, and is reported, before ours; what compiles it is not counted.
    command.args(["--tool=callgrind", "--trace-children=yes", "--trace-children-skip=*/gcc"]);
    command.arg("--callgrind-out-file=/dev/null").arg(program);
    command.args(["--count", plan.name, &row.to_string(), subject, &count.to_string()]);
    let output = command.output().expect("valgrind is installed");
    collected(&String::from_utf8_lossy(&output.stderr)).filter(|_| output.status.success())
}

/// What callgrind says of the first process that has ended.
pub(crate) fn collected(log: &str) -> Option<u64> {
    log.lines().find_map(|line| line.split_once("Collected :"))?.1.trim().parse().ok()
}

/// `--count PLAN ROW SUBJECT N`: does the work once, for somebody who counts.
pub(crate) fn run_once(plan: &Plan, words: &[String]) {
    let [row, subject, count, ..] = words else { panic!("--count PLAN ROW SUBJECT N") };
    let work = (plan.work)(number(row) as usize, subject);
    println!("{:?}", work.expect("work of that row")(number(count)));
}

/// System calls an operation, where the subjects are servers.
pub(crate) fn calls(plan: &Plan, only: Option<&str>) -> Table {
    let names = plan.subjects();
    let calls =
        plan.servers.as_ref().and_then(|servers| servers.calls).expect("a bench whose servers are counted");
    let lines = plan.chosen_rows(only).map(|(index, row)| {
        let figures: Vec<Option<f64>> = names.iter().map(|subject| Some(calls(index, subject))).collect();
        let goal = row.calls_max.zip(figures[0]);
        let verdicts = goal.map(|(most, count)| Verdict::of_count(count, most)).into_iter().collect();
        Line { text: row.text, figures, verdicts }
    });
    Table { first: "operation", lines: lines.collect(), names, show: hundredths }
}
