//! What a vassal file holds, and how the program in it behaves.

use std::time::Duration;

use liege::state::{Fingerprint, LifeEvent, OnDemand};
use liege::types::exit_status::ExitStatus;
use liege::types::run_settings::{Restart, RunSettings};

use crate::rng::Rng;

/// A vassal file as it is on disk.
#[derive(Clone, Debug)]
pub struct Content {
    pub on_demand: OnDemand,
    pub program: Program,
}

#[derive(Clone, Debug)]
pub struct Program {
    pub stage: Stage,
    pub settings: RunSettings,
    pub voice: Voice,
    pub course: Course,
    pub manners: Manners,
    /// What else its exec fixes: its arguments, its user.
    pub start: u64,
}

/// How the stage does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Good,
    Slow,
    Refuses,
    RefusesAndHangs,
    ExecFails,
    DiesWithoutVerdict,
    Hangs,
    HangsAfterVerdict,
}

/// What the program says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    Mute,
    Bytes,
    /// Bytes, but never that it is accepting or loyal.
    FewBytes,
    Notify,
    /// It has promised to announce its readiness, and does not.
    BrokenPromise,
}

/// What it does in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    Serves,
    Beats,
    BeatsThenHangs,
    Ends(ExitStatus),
    EndsAtOnce(ExitStatus),
    GoesIdle,
    GoesIdleAndEnds,
    ClosesPipe,
    ClosesPipeAndEnds,
}

/// How it takes a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    Obedient,
    Slow,
    Deaf,
}

impl Content {
    /// `decency`: how many in a hundred programs do what they should.
    pub fn random(rng: &mut Rng, name: &str, on_demand: bool, decency: u64) -> Self {
        let on_demand = match rng.below(100) {
            0..4 => OnDemand::Fault("the address cannot be read".into()),
            4..7 => OnDemand::Address("/run/shared".into()),
            7..15 => OnDemand::Address(format!("/run/{name}-other").into()),
            15..20 => OnDemand::No,
            _ if on_demand => OnDemand::Address(format!("/run/{name}").into()),
            _ => OnDemand::No,
        };
        let program = match rng.percent(decency) {
            true => Program::decent(rng),
            false => Program::random(rng),
        };
        Self { on_demand, program }
    }

    /// Nothing but the world's faults can keep it from running.
    pub fn is_good(&self) -> bool {
        let program = &self.program;
        !matches!(self.on_demand, OnDemand::Fault(_))
            && matches!(program.stage, Stage::Good | Stage::Slow)
            && matches!(program.course, Course::Serves | Course::Beats)
            && !matches!(program.voice, Voice::BrokenPromise | Voice::FewBytes)
    }
}

impl Program {
    fn decent(rng: &mut Rng) -> Self {
        let voice = *rng.pick(&[Voice::Mute, Voice::Mute, Voice::Bytes, Voice::Notify]);
        let course = *rng.pick(&[Course::Serves, Course::Serves, Course::Beats]);
        let manners = *rng.pick(&[Manners::Obedient, Manners::Slow, Manners::Deaf]);
        let settings = Self::settings(rng, voice, course);
        let start = rng.below(2);
        Self { stage: Stage::Good, settings, voice, course, manners, start }
    }

    fn random(rng: &mut Rng) -> Self {
        let stage = *rng.pick(&[
            Stage::Good,
            Stage::Good,
            Stage::Good,
            Stage::Good,
            Stage::Good,
            Stage::Good,
            Stage::Slow,
            Stage::Refuses,
            Stage::RefusesAndHangs,
            Stage::ExecFails,
            Stage::DiesWithoutVerdict,
            Stage::Hangs,
            Stage::HangsAfterVerdict,
        ]);
        let voice = *rng.pick(&[
            Voice::Mute,
            Voice::Mute,
            Voice::Bytes,
            Voice::Bytes,
            Voice::FewBytes,
            Voice::Notify,
            Voice::BrokenPromise,
        ]);
        let exit = *rng.pick(&[ExitStatus::Code(0), ExitStatus::Code(1), ExitStatus::Signal(11)]);
        let course = *rng.pick(&[
            Course::Serves,
            Course::Serves,
            Course::Serves,
            Course::Serves,
            Course::Beats,
            Course::Beats,
            Course::BeatsThenHangs,
            Course::Ends(exit),
            Course::EndsAtOnce(exit),
            Course::GoesIdle,
            Course::GoesIdleAndEnds,
            Course::ClosesPipe,
            Course::ClosesPipeAndEnds,
        ]);
        let manners = *rng.pick(&[
            Manners::Obedient,
            Manners::Obedient,
            Manners::Obedient,
            Manners::Slow,
            Manners::Deaf,
        ]);
        let settings = Program::settings(rng, voice, course);
        let start = rng.below(2);
        Self { stage, settings, voice, course, manners, start }
    }

    /// Of its start, as its stage gives it.
    pub fn fingerprint(&self) -> Fingerprint {
        let settings = &self.settings;
        let (notify, beats) = (u64::from(settings.notify), u64::from(settings.heartbeat.is_some()));
        let listeners = u64::from(settings.listeners);
        Fingerprint(1 + self.start + 2 * notify + 4 * beats + 8 * listeners)
    }

    pub fn verdict(&self) -> LifeEvent {
        LifeEvent::Verdict(self.settings.clone(), self.fingerprint())
    }

    fn settings(rng: &mut Rng, voice: Voice, course: Course) -> RunSettings {
        let notify = matches!(voice, Voice::Notify | Voice::BrokenPromise);
        let beats = matches!(course, Course::Beats | Course::BeatsThenHangs);
        let seconds = |s| Some(Duration::from_secs(s));
        RunSettings {
            stop_signal: *rng.pick(&[None, Some(15), Some(3)]),
            reload_signal: if rng.percent(10) { Some(1) } else { None },
            graceful_signal: if rng.percent(10) { Some(10) } else { None },
            restart: *rng.pick(&[
                Restart::Always,
                Restart::Always,
                Restart::Always,
                Restart::Always,
                Restart::OnFailure,
                Restart::Never,
            ]),
            notify,
            heartbeat: if notify && beats { seconds(15) } else { None },
            loyal_after: if rng.percent(10) { seconds(1) } else { None },
            ready_after: if rng.percent(10) { seconds(0) } else { None },
            start_timeout: if rng.percent(20) { seconds(20) } else { None },
            listeners: u8::from(rng.percent(60)),
            ..RunSettings::default()
        }
    }
}
