//! C programs that are run on either library: compiled once against Debian's headers and libraries, and led to ours by
//! `LD_LIBRARY_PATH`.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::process::have;

/// The names under which programs look for libevent.
const NAMES: [&str; 5] = [
    "libevent-2.1.so.7",
    "libevent_core-2.1.so.7",
    "libevent_extra-2.1.so.7",
    "libevent_openssl-2.1.so.7",
    "libevent_pthreads-2.1.so.7",
];

/// What a program is run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    Debian,
    Zerovent,
}

impl Library {
    /// A command that runs `program` on this library, unless ours has not been built: then that has been said.
    pub fn command(self, program: impl AsRef<Path>) -> Option<Command> {
        let mut command = Command::new(program.as_ref());
        self.lead(&mut command).then_some(command)
    }

    /// Leads whatever `command` starts to this library; false if ours has not been built.
    pub fn lead(self, command: &mut Command) -> bool {
        let Library::Zerovent = self else {
            command.env_remove("LD_LIBRARY_PATH").env("LIBRARY_UNDER_TEST", "libevent");
            return true;
        };
        let Some(links) = links() else { return false };
        command.env("LD_LIBRARY_PATH", links).env("LIBRARY_UNDER_TEST", "zerovent");
        true
    }

    /// A process has this library mapped, and nothing of the other.
    pub fn check_mapped(self, process: u32) {
        let is_ours = self == Library::Zerovent;
        assert_eq!(mapped(process), (is_ours, !is_ours), "{self:?}");
    }

    /// Whether a process has come so far as to map either library.
    pub fn is_any_mapped(process: u32) -> bool {
        mapped(process) != (false, false)
    }
}

/// Whether a process has ours mapped, and anything of libevent's.
fn mapped(process: u32) -> (bool, bool) {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).expect("it runs");
    (maps.contains("/libzerovent"), maps.contains("/libevent"))
}

/// The cdylib, if it has been built. Where it must have been (CI=true) its lack is a failure.
pub fn cdylib() -> Option<PathBuf> {
    let built =
        env::var_os("ZEROVENT_CAPI").map_or_else(|| target().join("release/libzerovent.so"), PathBuf::from);
    if built.is_file() {
        return Some(built);
    }
    assert!(env::var("CI").as_deref() != Ok("true"), "{} is missing: .ci/run builds it", built.display());
    eprintln!("skipped: {} is not built; docs/c-abi.md says how", built.display());
    None
}

/// A folder with links to the cdylib by libevent's names.
pub fn links() -> Option<&'static Path> {
    static LINKS: OnceLock<Option<PathBuf>> = OnceLock::new();
    LINKS.get_or_init(make_links).as_deref()
}

fn make_links() -> Option<PathBuf> {
    let library = cdylib()?.canonicalize().expect("it is there");
    let folder = scratch("links");
    for name in NAMES {
        let link = folder.join(name);
        let _ = fs::remove_file(&link);
        symlink(&library, &link).expect("the folder is ours");
    }
    Some(folder)
}

/// Compiles `tests/capi/NAME.c`, or `.cc`, unless there is no compiler: then that has been said.
pub fn compile(name: &str) -> Option<PathBuf> {
    // Two tests want each program, at the same time; the second one finds it made.
    static MADE: Mutex<BTreeMap<String, Option<PathBuf>>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(name.to_owned()).or_insert_with(|| build(name)).clone()
}

fn build(name: &str) -> Option<PathBuf> {
    let (source, compiler, standard) = source_of(name);
    if !have(compiler) {
        return None;
    }
    let sanitizer = sanitizer();
    let program = scratch(&format!("programs{sanitizer}")).join(name);
    let mut gcc = Command::new(compiler);
    gcc.args([standard, "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"]);
    gcc.arg(&source).arg("-o").arg(&program);
    if !sanitizer.is_empty() {
        gcc.arg(format!("-fsanitize={sanitizer}"));
    }
    if sanitizer == "thread" {
        // The library finds there what the runtime lacks.
        gcc.arg("-rdynamic").arg(source.with_file_name("sanitizer.c"));
    }
    gcc.args(["-Wl,--as-needed", "-levent_core", "-levent_extra", "-levent_pthreads", "-lpthread"]);
    let output = gcc.output().expect("gcc runs");
    assert!(output.status.success(), "{}: {}", source.display(), String::from_utf8_lossy(&output.stderr));
    Some(program)
}

/// What watches the programs: `address` or `thread`, if `ZEROVENT_SANITIZER` says so, or nothing. The library has to be built for that, and
/// `ZEROVENT_CAPI` to say where it is; docs/c-abi.md has the commands.
fn sanitizer() -> String {
    env::var("ZEROVENT_SANITIZER").unwrap_or_default()
}

/// The source of a program, C or C++, and what it is compiled with.
fn source_of(name: &str) -> (PathBuf, &'static str, &'static str) {
    let c = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/capi").join(name).with_extension("c");
    let cc = c.with_extension("cc");
    if cc.is_file() { (cc, "g++", "-std=gnu++17") } else { (c, "gcc", "-std=gnu11") }
}

/// Runs every case of `tests/capi/NAME.c` on `library`, each in a process of its own.
pub fn run_cases(name: &str, library: Library) {
    let Some(program) = compile(name) else { return };
    let listed = Command::new(&program).output().expect("it runs");
    let names = String::from_utf8(listed.stdout).expect("names are text");
    assert!(!names.is_empty(), "{name}.c has no cases");
    let mut failures = Vec::new();
    for case in names.lines() {
        let Some(mut command) = library.command(&program) else { return };
        let output = command.arg(case).output().expect("it runs");
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            failures.push(format!("{name} {case}: {}\n{said}", output.status));
        }
    }
    assert!(failures.is_empty(), "on {library:?}:\n{}", failures.join("\n"));
}

/// Runs all cases of `tests/capi/NAME.c` on ours under valgrind, which must find nothing, not even memory that is lost.
pub fn run_under_valgrind(name: &str) {
    let (true, Some(program)) = (have("valgrind"), compile(name)) else { return };
    let Some(mut command) = Library::Zerovent.command("valgrind") else { return };
    command.args(["-q", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite"]);
    let output = command.arg(program).arg("all").output().expect("valgrind runs");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A folder of the tests' own, made if it is not there.
pub fn scratch(name: &str) -> PathBuf {
    let folder = target().join("capi").join(name);
    fs::create_dir_all(&folder).expect("the target folder is ours");
    folder
}

/// Where cargo builds: this test is `target/PROFILE/deps/TEST`.
fn target() -> PathBuf {
    let test = env::current_exe().expect("a running test has a path");
    test.ancestors().nth(3).expect("target/PROFILE/deps/TEST").to_path_buf()
}
