//! How a bench compares: rows of operations, columns of those who do them, goals, and the ways to take the measure.
//!
//! Without arguments criterion measures every row, subject by subject. `--table` measures all subjects in interleaved rounds (`rounds`),
//! `--instructions` has callgrind count (`count`). A word behind either leaves the rows that have it in their name.

mod count;
mod rounds;

use std::time::Duration;

use criterion::Criterion;

/// Does an operation so many times, and says how long that took without what had to be prepared.
pub(crate) type Work = Box<dyn FnMut(u64) -> Duration>;

/// A bench.
pub(crate) struct Plan {
    pub(crate) rows: Vec<Row>,
    /// The first is zerovent.
    pub(crate) columns: &'static [Column],
    /// The work of a row, by its number, for a subject; `None` where it has none.
    pub(crate) work: fn(usize, &str) -> Option<Work>,
    /// Why a subject cannot be measured here.
    pub(crate) missing: fn(&str) -> Option<String>,
    /// Makes a process what its column asks for.
    pub(crate) settle: fn(&str),
}

/// A row of the tables.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) text: &'static str,
    pub(crate) goals: Vec<Goal>,
    /// Whether it is among those whose instructions are counted.
    pub(crate) counted: bool,
}

/// A column of the table: who, and in which of the processes. Columns of the same process share one.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) subject: &'static str,
    pub(crate) process: &'static str,
}

/// What zerovent may cost of what the column `of` costs.
pub(crate) struct Goal {
    pub(crate) of: &'static str,
    pub(crate) most: f64,
}

impl Plan {
    /// The columns of those who are there; a line for each who is not.
    fn columns(&self) -> Vec<Column> {
        let is_there = |column: &&Column| match (self.missing)(column.subject) {
            None => true,
            Some(why) => {
                println!("{} is left out: {why}", column.name);
                false
            }
        };
        self.columns.iter().filter(is_there).copied().collect()
    }

    /// Each subject once, however many columns it has.
    fn subjects(&self) -> Vec<&'static str> {
        let mut subjects: Vec<&str> = Vec::new();
        for column in self.columns() {
            if !subjects.contains(&column.subject) {
                subjects.push(column.subject);
            }
        }
        subjects
    }

    /// The rows that the command line asks for, with their numbers.
    fn chosen_rows(&self) -> impl Iterator<Item = (usize, &Row)> {
        let only = std::env::args().skip(2).find(|argument| !argument.starts_with("--"));
        let chosen = move |row: &Row| only.as_ref().is_none_or(|only| row.name.contains(only.as_str()));
        self.rows.iter().enumerate().filter(move |(_, row)| chosen(row))
    }
}

/// What a bench's `main` does.
pub(crate) fn run(plan: &Plan) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--table") => rounds::print_table(plan),
        Some("--instructions") => count::print_instructions(plan),
        Some("--serve") => rounds::serve(plan, arguments.get(1).map_or("", String::as_str)),
        Some("--count") => count::run_once(plan, &arguments[1..]),
        _ => measure(plan, &mut Criterion::default().configure_from_args()),
    }
}

fn measure(plan: &Plan, criterion: &mut Criterion) {
    let subjects = plan.subjects();
    for (index, row) in plan.rows.iter().enumerate() {
        let mut group = criterion.benchmark_group(row.text);
        group.sample_size(20).measurement_time(Duration::from_secs(2));
        for subject in &subjects {
            if let Some(mut work) = (plan.work)(index, subject) {
                group.bench_function(*subject, |bencher| bencher.iter_custom(&mut work));
            }
        }
        group.finish();
    }
    criterion.final_summary();
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

pub(crate) fn table_head(first: &str, names: &[&str], last: &str) {
    println!("| {first} | {}{last} |", names.join(" | "));
    println!("|---|{}{}", "---|".repeat(names.len()), if last.is_empty() { "" } else { "---|" });
}
