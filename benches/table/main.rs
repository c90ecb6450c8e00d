//! The benchmark: liege against the least that a supervisor could do, in one run, as one table.
//!
//! `benches/run` builds and starts it; `benches/run 200` takes 200 vassals instead of 1,000. The limit is
//! `limit.c`, the program that is started is `started.c`, both compiled here by `cc`. uWSGI's Emperor is
//! measured beside it where `uwsgi` is installed. Ratios compare within the run; a busy machine still distorts
//! them, so look at the spread of several runs.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]
#![allow(unsafe_code, reason = "kill, pidfd_open, poll and the clock")]

mod measure;
mod sys;
mod world;

use measure::Figures;
use std::path::PathBuf;
use std::process::Command;
use world::Contender;

fn main() {
    // cargo bench adds `--bench`.
    let count = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(1000);
    let programs = Programs::build();
    let mut contenders = vec![Contender::Limit, Contender::Stage, Contender::Direct];
    if programs.uwsgi.is_some() {
        contenders.extend([Contender::UwsgiStage, Contender::UwsgiDirect]);
    }
    println!("{}", machine());
    println!(
        "limit and started program: C, static, cc -O2; the limit starts by vfork and exec; N = {count}\n"
    );
    let small: Vec<_> = measure::cold(&programs, &contenders, 100.min(count), 5);
    let large: Vec<_> = measure::cold(&programs, &contenders, count, 3);
    let mut figures: Vec<(Contender, Figures)> = Vec::new();
    for &contender in &contenders {
        figures.push((contender, measure::life(&programs, contender, count)));
    }
    let demand: Vec<Vec<f64>> = [20, count]
        .iter()
        .map(|&sockets| {
            contenders
                .iter()
                .map(|&contender| measure::demand(&programs, contender, sockets))
                .collect()
        })
        .collect();
    Table { contenders: &contenders, figures: &figures, count }.print(&small, &large, &demand);
}

/// The programs of a run.
pub struct Programs {
    liege: PathBuf,
    limit: PathBuf,
    started: PathBuf,
    uwsgi: Option<PathBuf>,
}

impl Programs {
    fn build() -> Self {
        let liege = PathBuf::from(env!("CARGO_BIN_EXE_liege"));
        let compile = |name: &str| {
            let source = format!("{}/benches/{name}.c", env!("CARGO_MANIFEST_DIR"));
            let program = liege.parent().unwrap().join(format!("bench-{name}"));
            let mut cc = Command::new("cc");
            cc.args(["-O2", "-static", "-o"]).arg(&program).arg(source);
            assert!(cc.status().unwrap().success(), "cc {name}.c");
            program
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let uwsgi =
            std::env::split_paths(&path).map(|dir| dir.join("uwsgi")).find(|file| file.exists());
        Self { limit: compile("limit"), started: compile("started"), uwsgi, liege }
    }
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("?");
    let processors = cpu.lines().filter(|line| line.starts_with("processor")).count();
    format!(
        "{processors} x {model}, Linux {}, load before: {}",
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").trim()
    )
}

/// How a row is judged, against the limit of the same run or by itself.
enum Target {
    Ratio(f64),
    Value(f64),
}

struct Table<'a> {
    contenders: &'a [Contender],
    figures: &'a [(Contender, Figures)],
    count: usize,
}

impl Table<'_> {
    fn print(&self, small: &[f64], large: &[f64], demand: &[Vec<f64>]) {
        let names: String = self.contenders.iter().map(|it| format!("{:>13}", it.name())).collect();
        println!("{:<44}{names}   target for liege", "");
        let count = self.count;
        let of = |pick: fn(&Figures) -> f64| -> Vec<f64> {
            self.figures.iter().map(|(_, figures)| pick(figures)).collect()
        };
        // Of the two ways to start, the README shows the stage.
        use Contender::{Direct, Stage};
        use Target::{Ratio, Value};
        self.row(
            &format!("cold start, N = {}, ms", 100.min(count)),
            small,
            &[(Direct, Ratio(1.7)), (Stage, Ratio(3.5))],
        );
        self.row(
            &format!("cold start, N = {count}, ms"),
            large,
            &[(Direct, Ratio(1.7)), (Stage, Ratio(3.5))],
        );
        self.row("new file (rename) to exec, ms", &of(|it| it.rename), &[(Stage, Value(3.0))]);
        self.row("touch to byte 1, ms", &of(|it| it.touch), &[(Stage, Value(1.0))]);
        self.row("removal to process gone, ms", &of(|it| it.remove), &[(Stage, Value(120.0))]);
        self.row("SIGKILL to exec of the successor, ms", &of(|it| it.kill), &[(Stage, Value(3.0))]);
        self.row(
            "connection to exec, 20 sockets, ms",
            &demand[0],
            &[(Direct, Ratio(1.5)), (Stage, Ratio(1.5))],
        );
        self.row(
            &format!("connection to exec, {count} sockets, ms"),
            &demand[1],
            &[(Direct, Ratio(1.5)), (Stage, Ratio(1.5))],
        );
        self.row("idle: wake-ups in 10 s", &of(|it| it.idle), &[(Stage, Value(0.0))]);
        self.row(
            "memory of the supervisor, PSS, KiB",
            &of(|it| it.memory),
            &[(Stage, Value(3072.0))],
        );
        self.row(
            "memory of one more vassal, bytes",
            &of(|it| it.further),
            &[(Stage, Value(1024.0))],
        );
        self.row(
            "TERM to all gone, ms",
            &of(|it| it.term),
            &[(Direct, Ratio(1.5)), (Stage, Ratio(1.5))],
        );
        self.row(
            "all killed at once to all running, ms",
            &of(|it| it.storm),
            &[(Direct, Ratio(2.0)), (Stage, Ratio(2.0))],
        );
        self.row(
            "longest turn of the loop, cold start, ms",
            &of(|it| it.turns[0]),
            &[(Stage, Value(5.0))],
        );
        self.row(
            "longest turn of the loop, whole run, ms",
            &of(|it| it.turns[1]),
            &[(Stage, Value(5.0))],
        );
    }

    fn row(&self, what: &str, values: &[f64], targets: &[(Contender, Target)]) {
        let shown = |value: &f64| match value.is_nan() {
            true => format!("{:>13}", "-"),
            false => format!("{value:>13.2}"),
        };
        let shown: String = values.iter().map(shown).collect();
        let verdicts: Vec<String> = targets
            .iter()
            .map(|(contender, target)| {
                let at = self.contenders.iter().position(|it| it == contender).unwrap();
                let (value, bound, sign) = match target {
                    Target::Ratio(bound) => (values[at] / values[0], bound, "x"),
                    Target::Value(bound) => (values[at], bound, ""),
                };
                let verdict = if value <= *bound { "pass" } else { "FAIL" };
                format!("{} {value:.2}{sign} <= {bound}{sign} {verdict}", contender.name())
            })
            .collect();
        println!("{what:<44}{shown}   {}", verdicts.join(", "));
    }
}
