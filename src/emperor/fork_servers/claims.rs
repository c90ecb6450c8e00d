//! Claims: a fork server names the process that it has forked, which is adopted only after it has been verified.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::super::context::Context;
use super::super::lives::{ConfigPipe, Process};
use super::orphans::OrphanScan;
use super::{ForkServers, KnownProcesses, OpenTalk, TalkError, TalkState};
use crate::state::{LifeEvent, LifeId};
use crate::sys::pidfd;
use crate::sys::process::{self, Pid, Reap};
use crate::sys::signal::Signal;
use crate::types::exit_status::ExitStatus;
use crate::types::moment::Moment;

/// Most exited children that are remembered while a talk is open.
const MAX_EXITED: usize = 1024;
/// The time from the first check of the parent of a claimed process to the second; each further pause is twice as
/// long.
const FIRST_CHECK: Duration = Duration::from_millis(1);
/// The longest pause between two checks, so that the last one is close to the time limit.
const MAX_CHECK_INTERVAL: Duration = Duration::from_millis(64);

/// A process that was named in an answer, and is not verified yet.
#[derive(Debug)]
pub(super) struct Claim {
    pid: Pid,
    pidfd: OwnedFd,
    /// Time of the next check.
    pub check_at: Moment,
    pause: Duration,
}

/// An unknown child that has exited and is reaped.
#[derive(Debug)]
pub(super) struct ExitedChild {
    pid: Pid,
    uid: u32,
    /// Time of its start, in ticks since boot, as its pid may have been reused.
    started_at: u64,
    ended: ExitStatus,
}

impl ForkServers {
    /// The processes that a server has named and that are not verified yet.
    pub fn claimed(&self) -> Vec<Pid> {
        let claimed = |talk: &OpenTalk| match &talk.state {
            TalkState::Claimed(claim) => Some(claim.pid),
            TalkState::Talking(_) => None,
        };
        self.talks.values().filter_map(claimed).collect()
    }

    /// Takes out the exited child that this talk has named, if it was started after the request.
    fn take_exited(&mut self, life: LifeId, number: i32) -> Option<ExitedChild> {
        let talk = self.talks.get(&life)?;
        let is_it = |child: &ExitedChild| {
            (child.pid.get(), child.uid) == (number, talk.user())
                && child.started_at >= talk.asked_at
        };
        let at = self.exited.iter().rposition(is_it)?;
        Some(self.exited.swap_remove(at))
    }

    /// The server has named a process.
    pub(super) fn claim(
        &mut self,
        (life, number): (LifeId, i32),
        known: KnownProcesses<'_>,
        context: &mut Context,
    ) {
        let Some(talk) = self.talks.get(&life) else { return };
        context.reactor.remove(talk.socket.as_fd());
        let opened = Pid::new(number)
            .ok_or_else(|| io::ErrorKind::InvalidInput.into())
            .and_then(|pid| pidfd::open(pid).map(|pidfd| (pid, pidfd)));
        // A living child with this pid takes precedence over an exited one that had it before.
        let is_there = opened.as_ref().is_ok_and(|(pid, fd)| user_of_child(*pid, fd).is_some());
        if !is_there && let Some(child) = self.take_exited(life, number) {
            self.close(life);
            context.raise_for(life, LifeEvent::Spawned(number));
            return context.raise_for(life, LifeEvent::Exited(child.ended));
        }
        match opened {
            Ok((pid, pidfd)) => {
                let check_at = context.now;
                if let Some(talk) = self.talks.get_mut(&life) {
                    let claim = Claim { pid, pidfd, check_at, pause: FIRST_CHECK };
                    talk.state = TalkState::Claimed(claim);
                }
                context.raise_for(life, LifeEvent::Answered);
                self.prove(life, known, context);
            }
            Err(error) => self.fail_claim(life, &format!("pid {number}: {error}"), context),
        }
    }

    fn fail_claim(&mut self, life: LifeId, what: &str, context: &mut Context) {
        let why = format!("{} has answered with {what}", self.place());
        self.fail(life, TalkError::Failed(why), context);
    }

    /// Checks whether the named process is our child by now, and if so, whether it can be the requested one.
    pub(super) fn prove(&mut self, life: LifeId, known: KnownProcesses<'_>, context: &mut Context) {
        let Some(talk) = self.talks.get_mut(&life) else { return };
        let wanted = talk.user();
        let TalkState::Claimed(claim) = &mut talk.state else { return };
        let pid = claim.pid;
        let is_proved = self.proved.iter().any(|(_, process)| process.pid == pid);
        if is_proved || known.lives.with_pid(pid).is_some() {
            return self.fail_claim(
                life,
                &format!("pid {pid}, which is that of another vassal"),
                context,
            );
        }
        if context.spawner.is_spawner(pid) {
            return self.fail_claim(life, &format!("pid {pid}, which is the spawner"), context);
        }
        if known.helpers.with_pid(pid).is_some() {
            return self.fail_claim(life, &format!("pid {pid}, which is that of a hook"), context);
        }
        let Some(uid) = user_of_child(pid, &claim.pidfd) else {
            // It becomes our child when the intermediate process has ended, which may be a moment later.
            claim.check_at = context.now + claim.pause;
            claim.pause = (claim.pause * 2).min(MAX_CHECK_INTERVAL);
            return;
        };
        let too_old = process::start_ticks(pid).is_ok_and(|start| start < talk.asked_at);
        if too_old || uid != wanted {
            // A base must not make us kill a process that it could not kill itself.
            let may = wanted == 0 || uid == wanted;
            if may {
                let _ = pidfd::send(claim.pidfd.as_fd(), Signal::KILL);
            }
            let what = match uid == wanted {
                true => "which is older than the request".to_owned(),
                false => format!("which runs as user {uid}"),
            };
            let fate = if may { ": it is killed" } else { "" };
            let what = format!("pid {pid}, {what}{fate}");
            return self.fail_claim(life, &what, context);
        }
        self.keep_proved(life, pid, context.now);
    }

    /// Keeps a verified process until the lives take it in.
    fn keep_proved(&mut self, life: LifeId, pid: Pid, now: Moment) {
        let Some(talk) = self.close(life) else { return };
        let OpenTalk { vassal, pipe, config, state: TalkState::Claimed(claim), base, .. } = talk
        else {
            return;
        };
        let mut process = Process::new(vassal, (pid, claim.pidfd), pipe, now);
        process.base = base.map(|base| base.name);
        process.config = config.map(ConfigPipe::new);
        self.proved.push((life, process));
    }

    // Unknown children.

    /// A child that is in no table has ended; if a server has named it, its claim is checked now.
    pub fn prove_claim_of(&mut self, child: Pid, known: KnownProcesses<'_>, context: &mut Context) {
        let claims = |talk: &OpenTalk| matches!(&talk.state, TalkState::Claimed(claim) if claim.pid == child);
        let found = self.talks.iter().find(|(_, talk)| claims(talk)).map(|(life, _)| *life);
        if let Some(life) = found {
            self.prove(life, known, context);
        }
    }

    /// Reaps an unknown child. While a talk is open it is remembered, as the answer may still name it.
    pub fn reap_unknown_child(&mut self, pid: Pid) {
        let wanted = !self.talks.is_empty() && self.exited.len() < MAX_EXITED;
        // Its user and age are read before it is reaped: after that its pid may be reused.
        let uid = process::user_of_ended(pid).ok().filter(|_| wanted);
        let started_at = uid.and_then(|_| process::start_ticks(pid).ok());
        if let (Ok(Some(ended)), Some(uid), Some(started_at)) =
            (process::reap(pid), uid, started_at)
        {
            self.exited.push(ExitedChild { pid, uid, started_at, ended });
        }
    }

    /// Serves the deadlines of claims and of scans for orphans.
    pub fn check_claims(&mut self, known: KnownProcesses<'_>, context: &mut Context) {
        let now = context.now;
        let is_due = |talk: &OpenTalk| match &talk.state {
            TalkState::Claimed(claim) => claim.check_at <= now,
            TalkState::Talking(_) => false,
        };
        let due = self.talks.iter().filter(|(_, talk)| is_due(talk));
        let due: Vec<LifeId> = due.map(|(life, _)| *life).collect();
        for life in due {
            self.prove(life, known, context);
        }
        let scans: Vec<OrphanScan> = self.scans.extract_if(.., |scan| scan.at <= now).collect();
        for scan in scans {
            self.scan(scan, known.lives, context);
        }
    }
}

/// The real user of a process that is our child; `None` if it is not, or not yet.
fn user_of_child(pid: Pid, pidfd: &OwnedFd) -> Option<u32> {
    match pidfd::info(pidfd.as_fd()) {
        Ok(who) => (who.parent == std::process::id()).then_some(who.uid[0]),
        // It has ended, and only its parent can still see it.
        Err(_) => match pidfd::wait(pidfd.as_fd(), Reap::Peek) {
            Ok(Some(_)) => process::user_of_ended(pid).ok(),
            Ok(None) | Err(_) => None,
        },
    }
}
