//! The benchmark: liege against the least that a supervisor could do, in one run, as one table.
//!
//! `benches/run --help` says what it takes. The limit is `limit.c`, the programs that are started are both made
//! of `started.c`; `cc` compiles them here. Ratios compare within the run, in which the contenders take turns; a
//! busy machine still distorts them, so look at the quartiles.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![allow(unsafe_code, reason = "kill, pidfd_open, prctl, poll and the clock")]

mod contender;
mod instructions;
mod measure;
mod peers;
mod stepper;
mod sys;
mod syscalls;
mod table;
mod world;

use contender::{Contender, Linking, Programs};
use measure::Measurement;
use std::path::PathBuf;
use std::process::ExitCode;
use table::Samples;
use world::World;

const HELP: &str = "\
benches/run [OPTION]... [GROUP]...

Prints times, their quartiles and their ratio to the limit of the same run. Groups: life, demand, boot; all of
them and --instructions if none is named, which takes about forty minutes.

  --quick         only the cold start, directly and through the stage, in about a minute
  --instructions  only count the instructions of one start in each process, as root; fails if they are more than
                  those of benches/instructions.tsv by a twentieth; with --renew it writes that file
  --syscalls      only list the system calls of one start in each process, by strace
  --compare FILE  measure this other binary of liege beside the one that is built here, and print the ratios;
                  no other supervisor
  --count N       vassals of `life` and `--quick` [1000]
  --boot N        vassals of `boot`, as far as RLIMIT_NOFILE allows them [6000]
  --repeats N     how often each contender is started for each figure [5; --quick: 3]
";

/// What the command line asks for.
struct Request {
    quick: bool,
    instructions: bool,
    renew: bool,
    syscalls: bool,
    other: Option<PathBuf>,
    count: usize,
    boot: usize,
    repeats: Option<usize>,
    groups: Vec<String>,
}

impl Request {
    fn read() -> Result<Self, lexopt::Error> {
        use lexopt::prelude::*;
        let mut request = Self {
            quick: false,
            instructions: false,
            renew: false,
            syscalls: false,
            other: None,
            count: 1000,
            boot: 6000,
            repeats: None,
            groups: Vec::new(),
        };
        let mut words = lexopt::Parser::from_env();
        while let Some(word) = words.next()? {
            match word {
                // cargo bench adds `--bench`.
                Long("bench") => {}
                Long("quick") => request.quick = true,
                Long("instructions") => request.instructions = true,
                Long("syscalls") => request.syscalls = true,
                Long("renew") => request.renew = true,
                Long("compare") => {
                    let file: PathBuf = words.value()?.into();
                    request.other = Some(file.canonicalize().map_err(|error| error.to_string())?);
                }
                Long("count") => request.count = words.value()?.parse()?,
                Long("boot") => request.boot = words.value()?.parse()?,
                Long("repeats") => request.repeats = Some(words.value()?.parse()?),
                Value(group) if ["life", "demand", "boot"].contains(&&*group.to_string_lossy()) => {
                    request.groups.push(group.string()?);
                }
                Long("help") => {
                    print!("{HELP}");
                    std::process::exit(0);
                }
                other => return Err(other.unexpected()),
            }
        }
        Ok(request)
    }

    fn wants(&self, group: &str) -> bool {
        !self.quick && (self.groups.is_empty() || self.groups.iter().any(|it| it == group))
    }

    /// liege takes no vassal for whose start four descriptors could be missing.
    fn most_vassals() -> usize {
        (sys::descriptor_limit() - 200) / 4
    }

    fn sockets(&self) -> Vec<usize> {
        let sockets = [20, 1000, 5000].map(|sockets| Self::most_vassals().min(sockets));
        sockets.into_iter().filter(|_| self.wants("demand")).collect()
    }

    fn measurements(&self) -> Vec<Measurement> {
        let mut measurements = Vec::new();
        if self.quick {
            measurements.push(Measurement::Cold(self.count));
        }
        if self.wants("life") {
            measurements.push(Measurement::Life(self.count));
        }
        if self.wants("boot") {
            measurements.push(Measurement::Boot(Self::most_vassals().min(self.boot)));
        }
        measurements
    }
}

fn main() -> ExitCode {
    let request = match Request::read() {
        Ok(request) => request,
        Err(error) => {
            eprintln!("{error}; see benches/run --help");
            return ExitCode::from(2);
        }
    };
    let programs = Programs::build();
    let (contenders, missing) = contender::all(&request.other, request.quick);
    if request.instructions {
        return count_instructions(&programs, &contenders, request.renew);
    }
    if request.syscalls {
        syscalls::run(&programs, &contenders);
        return ExitCode::SUCCESS;
    }
    println!("{}", machine());
    if !missing.is_empty() {
        println!("not installed: {}", missing.join(", "));
    }
    let repeats = request.repeats.unwrap_or(if request.quick { 3 } else { 5 });
    println!(
        "program A: static, with the C library; B: without one; {repeats} repeats; median [quartiles]\n"
    );
    for measurement in request.measurements() {
        for linking in Linking::ALL {
            let samples = interleaved(&programs, &contenders, (measurement, linking), repeats);
            table::print(&samples, &contenders, linking);
        }
    }
    for sockets in request.sockets() {
        for linking in Linking::ALL {
            let world = |contender| World::new(&programs, contender, linking);
            let samples = measure::demand(world, &contenders, (sockets, repeats * 6));
            table::print(&samples, &contenders, linking);
        }
    }
    match request.quick || !request.groups.is_empty() {
        true => ExitCode::SUCCESS,
        false => count_instructions(&programs, &contenders, false),
    }
}

fn count_instructions(programs: &Programs, contenders: &[Contender], renew: bool) -> ExitCode {
    match instructions::run(programs, contenders, renew) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot count instructions, which root can: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The contenders take turns, each time in another order, so that a slow moment of the machine hits all of them.
fn interleaved(
    programs: &Programs,
    contenders: &[Contender],
    (measurement, linking): (Measurement, Linking),
    repeats: usize,
) -> Samples {
    let mut samples = Samples::default();
    for repeat in 0..repeats {
        for step in 0..contenders.len() {
            let at = (step + repeat) % contenders.len();
            if !measure::takes_part(&contenders[at], measurement) {
                continue;
            }
            let world = || World::new(programs, &contenders[at], linking);
            for (row, value) in measure::sample(measurement, world, repeat) {
                samples.add(row, at, value);
            }
        }
    }
    samples
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
