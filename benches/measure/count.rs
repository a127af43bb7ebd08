//! Instructions an operation, as callgrind counts them: what else the machine does is not in the figure.

use std::process::Command;

use super::{Plan, number, table_head};

/// Prints, for each row that says so, the instructions of 2N operations without those of N.
pub(crate) fn print_instructions(plan: &Plan) {
    const COUNT: u64 = 20_000;
    let subjects = plan.subjects();
    table_head("operation", &subjects, "");
    for (index, row) in plan.chosen_rows().filter(|(_, row)| row.counted) {
        let cells = subjects.iter().map(|subject| {
            let counts = [COUNT, 2 * COUNT].map(|count| instructions(index, subject, count));
            match counts {
                [Some(once), Some(twice)] => format!("{}", twice.saturating_sub(once) / COUNT),
                _ => "-".to_owned(),
            }
        });
        println!("| {} | {} |", row.text, cells.collect::<Vec<_>>().join(" | "));
    }
}

fn instructions(row: usize, subject: &str, count: u64) -> Option<u64> {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new("valgrind");
    // A C program is a process of its own, which ends, and is reported, before ours; what compiles it is not counted.
    command.args(["--tool=callgrind", "--trace-children=yes", "--trace-children-skip=*/gcc"]);
    command.arg("--callgrind-out-file=/dev/null").arg(program);
    command.args(["--count", &row.to_string(), subject, &count.to_string()]);
    let output = command.output().expect("valgrind is installed");
    let log = String::from_utf8_lossy(&output.stderr);
    let total = log.lines().find_map(|line| line.split_once("Collected :"))?.1.trim().parse().ok();
    total.filter(|_| output.status.success())
}

/// `--count ROW SUBJECT N`: does the work once, for somebody who counts.
pub(crate) fn run_once(plan: &Plan, arguments: &[String]) {
    let [row, subject, count] = arguments else { panic!("--count ROW SUBJECT N") };
    let work = (plan.work)(number(row) as usize, subject);
    println!("{:?}", work.expect("work of that row")(number(count)));
}
